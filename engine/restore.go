package engine

import (
	"errors"
	"fmt"

	"loquetier/engine/vk"
)

// Restore brings a training state back into its slot in pieces, between which steps
// run; none of them may name the slot before the end. After the last piece Finish ends
// it; Cancel leaves a state of which nothing can be said. Both are for the goroutine of
// the engine's steps.
type Restore struct{ delivery }

// RestoreTraining puts back what TrainingState read of a slot with the same
// modules and ranks. No backward pass of the slot may be pending.
func (e *Engine) RestoreTraining(slot int, state []byte) error {
	r, err := e.BeginRestore(slot, state)
	if err != nil {
		return err
	}
	if err := r.all(); err != nil {
		r.Cancel()
		return fmt.Errorf("restore training: %w", err)
	}
	return r.Finish()
}

// BeginRestore begins what RestoreTraining does.
func (e *Engine) BeginRestore(slot int, state []byte) (*Restore, error) {
	t, err := e.settled(slot)
	if err != nil {
		return nil, err
	}
	size := 4 * t.count
	if len(state) != 4*size {
		return nil, fmt.Errorf("restore training: the state has %d bytes, an adapter of this shape has %d", len(state), 4*size)
	}
	f, err := e.newFerry(t.memory, t.memory.Size, vk.Upload)
	if err != nil {
		return nil, fmt.Errorf("restore training: %w", err)
	}
	master, at := e.master(slot)
	r := &Restore{delivery{ferry: f}}
	r.legs = []leg{
		{memory: master, at: at, size: uint64(size), read: imageContents(state[:size])},
		{memory: t.memory, size: uint64(3 * size), read: imageContents(state[size:])},
	}
	if act := e.precision.Act; t.apart {
		copied := leg{memory: e.residents[slot].memory, size: uint64(t.count * act.Size()), read: convertedContents(state[:size], act)}
		r.legs = append(r.legs, copied)
	}
	return r, nil
}

// Finish waits for the last piece.
func (r *Restore) Finish() error {
	defer r.ferry.free()
	if !r.complete() {
		return errors.New("BUG: a training state is finished before its last piece")
	}
	if err := r.ferry.settle(); err != nil {
		return fmt.Errorf("restore training: %w", err)
	}
	return nil
}

// Cancel gives back what the way took.
func (r *Restore) Cancel() { r.ferry.free() }
