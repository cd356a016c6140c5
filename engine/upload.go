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
	ferry    *ferry

	read  contents
	size  uint64                     // of the contents; 0: there are none
	at    uint64                     // how far they are prepared
	sent  uint64                     // and sent
	calls []func(*vk.Recorder) error // what the device computes, in order, once the contents are there
	seat  func()                     // enters the adapter into the slot table
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
	u.read, u.size = imageContents(im.data), uint64(len(im.data))
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
	f, err := e.newFerry(r.memory, vk.Upload)
	if err != nil {
		e.device.Free(r.memory)
		return nil, err
	}
	return &Upload{engine: e, slot: slot, resident: r, ferry: f}, nil
}

// prepare says what is copied and what the device computes: random numbers, which
// leave no room for padding, and DoRA's gains.
func (u *Upload) prepare(a Adapter, places []placement) error {
	e := u.engine
	var given []laid
	for _, l := range matrices(a, places, e.precision.Act) {
		if l.Random == nil {
			given = append(given, l)
			continue
		}
		if l.width%4 != 0 || l.Shape[0]%4 != 0 {
			return fmt.Errorf("random tensor %s of shape %v: the rank is not a multiple of 4", l.Name, l.Shape)
		}
		to := u.resident.memory.Span(l.at, uint64(l.Elements()*l.as.Size()))
		u.calls = append(u.calls, func(rec *vk.Recorder) error { return e.kernels.draw(rec, to, l.Tensor, l.as) })
	}
	if given = append(given, magnitudes(a, places)...); len(given) > 0 {
		u.read, u.size = tensorContents(given), u.resident.memory.Size
	}
	for i, m := range a.Modules {
		if m.Magnitude != nil {
			u.calls = append(u.calls, func(rec *vk.Recorder) error { return e.gain(rec, u.resident.memory, m, places[i]) })
		}
	}
	return nil
}

// Slot is where the adapter is to be.
func (u *Upload) Slot() int { return u.slot }

// Fill prepares the next piece.
func (u *Upload) Fill() error {
	if u.at == u.size {
		return nil
	}
	n := u.ferry.piece(u.at, u.size)
	dst := u.ferry.next().staging.Host
	if host := u.ferry.memory.Host; host != nil {
		dst = host[u.at:]
	}
	if err := u.read(dst[:n], u.at); err != nil {
		return err
	}
	u.at += n
	return nil
}

// Send gives the device what Fill has prepared, or else the next thing to compute.
// It says whether there is more to come.
func (u *Upload) Send() (more bool, err error) {
	switch {
	case u.sent < u.at:
		err = u.copy()
	case len(u.calls) > 0:
		err = u.ferry.submit(u.calls[0])
		u.calls = u.calls[1:]
	}
	return u.at < u.size || len(u.calls) > 0, err
}

func (u *Upload) copy() error {
	from, n := u.sent, u.at-u.sent
	u.sent = u.at
	if u.ferry.memory.Host != nil {
		return nil
	}
	return u.ferry.submit(func(rec *vk.Recorder) error {
		rec.Copy(u.ferry.memory, from, u.ferry.next().staging, 0, n)
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
	if u.sent < u.size || len(u.calls) > 0 {
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
	e.residents[u.slot] = u.resident
	return nil
}

// Cancel gives everything back: the slot stays free.
func (u *Upload) Cancel() {
	u.ferry.free()
	u.engine.device.Free(u.resident.memory)
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
