package engine

import (
	"errors"
	"fmt"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// trainee is what a slot holds beyond its adapter while the adapter is trained:
// float32 arrays over all of its numbers, in the order of its memory.
type trainee struct {
	modules []AdapterModule // without their tensors' bytes
	places  []placement
	memory  vk.Buffer // the arrays one after the other
	count   int       // numbers of an array, a multiple of 4
	apart   bool      // the master is an array of its own: the adapter's memory is of another type
}

// Arrays of a trainee in its memory; the master comes last, where it is apart.
const (
	gradientArray = iota
	meanArray
	varianceArray
	masterArray
)

func (t *trainee) arrays() int {
	if t.apart {
		return masterArray + 1
	}
	return masterArray
}

func (t *trainee) array(i int) vk.Range { return t.memory.Span(uint64(4*t.count*i), uint64(4*t.count)) }

// gradient is what the backward pass adds to.
func (t *trainee) gradient() vk.Range { return t.array(gradientArray) }

// address fills in where an update finds the arrays.
func (t *trainee) address(row *OptimizerRow, r *resident) {
	row.Weights, row.Count = r.memory.Address, uint32(t.count)
	if t.apart {
		row.Weights, row.Copy = t.array(masterArray).Address, r.memory.Address
	}
	row.Gradient, row.Mean, row.Variance = t.gradient().Address, t.array(meanArray).Address, t.array(varianceArray).Address
}

// ErrDoRA is returned for an adapter with magnitudes that is to be trained.
var ErrDoRA = errors.New("a DoRA adapter cannot be trained, only served")

// AttachTraining puts an adapter into a free slot to be trained: beside the
// adapter's memory it takes three or, where the compute type is not float32, four
// float32 numbers for each of its own. Train spans and Updates name the slot.
func (e *Engine) AttachTraining(slot int, a Adapter) error {
	u, err := e.BeginTraining(slot, a)
	if err != nil {
		return err
	}
	return u.Run()
}

// BeginTraining is BeginUpload of an adapter that is to be trained.
func (e *Engine) BeginTraining(slot int, a Adapter) (*Upload, error) {
	if e.config.TrainRows == 0 {
		return nil, fmt.Errorf("BUG: the engine has no room for training rows")
	}
	for _, m := range a.Modules {
		if m.Magnitude != nil {
			return nil, ErrDoRA
		}
	}
	u, err := e.BeginUpload(slot, a)
	if err != nil {
		return nil, err
	}
	if err := u.train(a); err != nil {
		u.Cancel()
		return nil, err
	}
	return u, nil
}

// Publish copies a training slot's weights, as they are between two steps, to
// a free slot, where they are served and no longer change.
func (e *Engine) Publish(from, to int) error {
	if _, err := e.trainee(from); err != nil {
		return err
	}
	source := e.residents[from]
	if err := e.publish(source, from, to); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

func (e *Engine) publish(source *resident, from, to int) error {
	if err := e.checkFree(to); err != nil {
		return err
	}
	r := &resident{maxRank: source.maxRank}
	var err error
	if r.memory, err = e.device.Alloc(vk.Local, source.memory.Size); err != nil {
		return fmt.Errorf("adapter of %d bytes: %w", source.memory.Size, err)
	}
	rec := e.device.NewRecorder(false)
	rec.Copy(r.memory, 0, source.memory, 0, source.memory.Size)
	if err = rec.Run(); err == nil {
		e.slots.put(to, e.slots.adapter(from), source.memory.Address, r.memory)
		err = e.slots.write(e.device.Device)
	}
	if err != nil {
		e.slots.clear(to)
		e.device.Free(r.memory)
		return err
	}
	e.residents[to] = r
	return nil
}

// train takes what an adapter needs to be trained, clears its gradient and moments,
// and brings its weights into the master as well.
func (u *Upload) train(a Adapter) error {
	e := u.engine
	places, count, _ := e.place(a)
	t := &trainee{places: places, count: count, apart: e.precision.Act != weights.F32}
	for _, m := range a.Modules {
		t.modules = append(t.modules, AdapterModule{Layer: m.Layer, Module: m.Module, Rank: m.Rank, Scale: m.Scale})
	}
	var err error
	if t.memory, err = e.device.Alloc(vk.Local, uint64(4*count*t.arrays())); err != nil {
		return fmt.Errorf("optimizer state of %d numbers: %w", count*t.arrays(), err)
	}
	u.trainee = t
	clear := t.memory
	clear.Size = uint64(4 * count * masterArray)
	u.calls = append(u.calls, func(rec *vk.Recorder) error {
		rec.Fill(clear, 0)
		return nil
	})
	if t.apart {
		err = u.tensors(t.memory, clear.Size, uint64(4*count), matrices(a, places, weights.F32))
	}
	seat := u.seat
	u.seat = func() {
		seat()
		for i, m := range a.Modules {
			entry := &e.slots.entries[e.slots.index(m.Layer, m.Module, u.slot)]
			entry.da, entry.db = t.gradient().Address+4*places[i].a, t.gradient().Address+4*places[i].b
		}
	}
	return err
}

// trains tells whether an adapter is trained in a slot.
func (e *Engine) trains(slot int) bool {
	return slot >= 0 && slot < len(e.residents) && e.residents[slot] != nil && e.residents[slot].trainee != nil
}

// trainee finds a training slot's arrays.
func (e *Engine) trainee(slot int) (*trainee, error) {
	if !e.trains(slot) {
		return nil, fmt.Errorf("BUG: nothing is trained in slot %d", slot)
	}
	return e.residents[slot].trainee, nil
}

// master is where a training slot's float32 weights lie.
func (e *Engine) master(slot int) (vk.Buffer, uint64) {
	t := e.residents[slot].trainee
	if t.apart {
		return t.memory, uint64(4 * t.count * masterArray)
	}
	return e.residents[slot].memory, 0
}
