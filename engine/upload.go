package engine

import (
	"errors"
	"fmt"

	"loquetier/engine/vk"
)

// Upload brings an adapter into a slot in pieces, between which steps run. After the
// last piece Finish puts the adapter into its slot; Cancel gives everything back instead.
// Both are for the space between two steps.
type Upload struct {
	delivery

	engine   *Engine
	slot     int
	resident *resident
	trainee  *trainee // nil unless it is to be trained
	seat     func()   // enters the adapter into the slot table
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
	return &Upload{delivery: delivery{ferry: f}, engine: e, slot: slot, resident: r}, nil
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
	if !u.complete() {
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
	if err := u.all(); err != nil {
		u.Cancel()
		return err
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
