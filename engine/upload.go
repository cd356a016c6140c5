package engine

import (
	"errors"
	"fmt"

	"loquetier/engine/vk"
)

// Upload brings an adapter into a slot in pieces, between which steps run. Each
// piece is a call of Fill, which takes the host's time and may be made while a step
// is prepared or waited for, then a call of Send, which like all that is the engine's
// is for the goroutine of its steps, but may find some in flight. After the last piece
// Finish puts the adapter into its slot; Cancel gives everything back instead. Both
// are for the space between two steps.
type Upload struct {
	engine   *Engine
	slot     int
	resident *resident
	trainee  *trainee // nil unless it is to be trained
	ferry    *ferry

	legs  []leg
	ready leg                        // the piece that Fill has prepared, of so many bytes
	calls []func(*vk.Recorder) error // what the device computes, in order, once the contents are there
	seat  func()                     // enters the adapter into the slot table
}

// leg is a part of the device's memory that is filled from the host.
type leg struct {
	memory   vk.Buffer
	at, size uint64 // where the rest of it begins, and how much that is
	read     contents
	from     uint64 // position in the contents of the rest
}

// BeginUpload takes the memory for an adapter that is to come into a free slot.
func (e *Engine) BeginUpload(slot int, a Adapter) (*Upload, error) {
	places, _, size := e.place(a)
	u, err := e.beginUpload(slot, size)
	if err != nil {
		return nil, err
	}
	u.resident.describe(a, places)
	if err := u.prepare(a, places); err != nil {
		u.Cancel()
		return nil, err
	}
	u.seat = func() { e.seat(slot, a, places, u.resident) }
	return u, nil
}

// BeginLoad is BeginUpload of an image.
func (e *Engine) BeginLoad(slot int, im *Image) (*Upload, error) {
	u, err := e.beginUpload(slot, uint64(len(im.data)))
	if err != nil {
		return nil, err
	}
	u.resident.gains, u.resident.maxRank = im.gains, im.maxRank
	u.legs = []leg{{memory: u.resident.memory, size: uint64(len(im.data)), read: imageContents(im.data)}}
	u.seat = func() { e.slots.put(slot, im.entries, 0, u.resident.memory) }
	return u, nil
}

func (e *Engine) beginUpload(slot int, size uint64) (*Upload, error) {
	if err := e.checkFree(slot); err != nil {
		return nil, err
	}
	r := &resident{}
	var err error
	if r.memory, err = e.device.Alloc(vk.Local, max(size, 16)); err != nil {
		return nil, fmt.Errorf("adapter of %d bytes: %w", size, err)
	}
	f, err := e.newFerry(r.memory, r.memory.Size, vk.Upload)
	if err != nil {
		e.device.Free(r.memory)
		return nil, err
	}
	return &Upload{engine: e, slot: slot, resident: r, ferry: f}, nil
}

// prepare says what is copied and what the device computes: random numbers and
// DoRA's gains.
func (u *Upload) prepare(a Adapter, places []placement) error {
	e := u.engine
	memory := u.resident.memory
	if err := u.tensors(memory, 0, memory.Size, append(matrices(a, places, e.precision.Act), magnitudes(a, places)...)); err != nil {
		return err
	}
	for i, m := range a.Modules {
		if m.Magnitude != nil {
			u.calls = append(u.calls, func(rec *vk.Recorder) error { return e.gain(rec, memory, m, places[i]) })
		}
	}
	return nil
}

// tensors fills a part of memory with tensors, and zeros between them. Random ones
// leave no room for padding: the device makes their numbers.
func (u *Upload) tensors(memory vk.Buffer, at, size uint64, all []laid) error {
	var given []laid
	for _, l := range all {
		if l.Random == nil {
			given = append(given, l)
			continue
		}
		if l.width%4 != 0 || l.Shape[0]%4 != 0 {
			return fmt.Errorf("random tensor %s of shape %v: the rank is not a multiple of 4", l.Name, l.Shape)
		}
		to := memory.Span(at+l.at, uint64(l.Elements()*l.as.Size()))
		u.calls = append(u.calls, func(rec *vk.Recorder) error { return u.engine.kernels.draw(rec, to, l.Tensor, l.as) })
	}
	if len(given) > 0 {
		u.legs = append(u.legs, leg{memory: memory, at: at, size: size, read: tensorContents(given)})
	}
	return nil
}

// Slot is where the adapter is to be.
func (u *Upload) Slot() int { return u.slot }

// Fill prepares the next piece.
func (u *Upload) Fill() error {
	if len(u.legs) == 0 {
		return nil
	}
	l := &u.legs[0]
	n := u.ferry.piece(0, l.size)
	dst := u.ferry.next().staging.Host
	if l.memory.Host != nil {
		dst = l.memory.Host[l.at:]
	}
	if err := l.read(dst[:n], l.from); err != nil {
		return err
	}
	u.ready = leg{memory: l.memory, at: l.at, size: n}
	if l.at, l.from, l.size = l.at+n, l.from+n, l.size-n; l.size == 0 {
		u.legs = u.legs[1:]
	}
	return nil
}

// Send gives the device what Fill has prepared, or else the next thing to compute.
// It says whether there is more to come.
func (u *Upload) Send() (more bool, err error) {
	switch {
	case u.ready.size > 0:
		err = u.copy()
	case len(u.calls) > 0:
		err = u.ferry.submit(u.calls[0])
		u.calls = u.calls[1:]
	}
	return len(u.legs)+len(u.calls) > 0, err
}

func (u *Upload) copy() error {
	piece := u.ready
	u.ready = leg{}
	if piece.memory.Host != nil {
		return nil
	}
	return u.ferry.submit(func(rec *vk.Recorder) error {
		rec.Copy(piece.memory, piece.at, u.ferry.next().staging, 0, piece.size)
		return nil
	})
}

// Finish puts the adapter into its slot. On an error the slot stays free.
func (u *Upload) Finish() error {
	if err := u.finish(); err != nil {
		u.Cancel()
		return err
	}
	u.ferry.free()
	return nil
}

func (u *Upload) finish() error {
	e := u.engine
	if u.ready.size > 0 || len(u.legs)+len(u.calls) > 0 {
		return errors.New("BUG: an upload is finished before its last piece")
	}
	if err := firstError(u.ferry.settle(), e.checkFree(u.slot), e.growShrink(u.resident.maxRank)); err != nil {
		return err
	}
	u.seat()
	if err := e.slots.write(e.device.Device); err != nil {
		e.slots.clear(u.slot)
		return err
	}
	u.resident.trainee = u.trainee
	e.residents[u.slot] = u.resident
	return nil
}

// Cancel gives everything back: the slot stays free.
func (u *Upload) Cancel() {
	u.ferry.free()
	u.engine.device.Free(u.resident.memory)
	if u.trainee != nil {
		u.engine.device.Free(u.trainee.memory)
	}
}

// Run does all of it at once, in the space between two steps.
func (u *Upload) Run() error {
	for more := true; more; {
		err := u.Fill()
		if err == nil {
			more, err = u.Send()
		}
		if err != nil {
			u.Cancel()
			return err
		}
	}
	return u.Finish()
}

// checkFree refuses a slot that is taken.
func (e *Engine) checkFree(slot int) error {
	if slot < 0 || slot >= e.slots.slots {
		return fmt.Errorf("BUG: slot %d of %d", slot, e.slots.slots)
	}
	if e.residents[slot] != nil {
		return fmt.Errorf("BUG: slot %d is taken", slot)
	}
	return nil
}
