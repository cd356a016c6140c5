package virtualmod

import (
	"errors"
	"fmt"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// A Trainee is an adapter that is being trained, in a slot of its own. What is
// served under a name never changes by training: only publishing makes the
// weights of that moment an adapter with a name.
type Trainee struct {
	base  *Base
	slot  int
	shape *Adapter // modules, ranks and scales; its tensors are those it began with
}

// Train puts an adapter into a slot to be trained from its weights on; as Acquire
// does, it takes the place of one that nobody uses. An error leaves the jobs as
// they were.
func (b *Base) Train(a *Adapter) (*Trainee, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.sweep(); err != nil {
		return nil, fmt.Errorf("train adapter %s: %w", a.Name, err)
	}
	slot, err := b.place(func(slot int) error { return b.engine.AttachTraining(slot, a.forEngine()) })
	if err != nil {
		return nil, fmt.Errorf("train adapter %s: %w", a.Name, err)
	}
	b.jobs[slot] = true
	return &Trainee{base: b, slot: slot, shape: a}, nil
}

// Slot is where the adapter is trained.
func (t *Trainee) Slot() int { return t.slot }

// Adapter reads the weights as they are between two steps, in float32.
func (t *Trainee) Adapter() (*Adapter, error) {
	trained, err := t.base.engine.Trained(t.slot)
	if err != nil {
		return nil, fmt.Errorf("read adapter %s: %w", t.shape.Name, err)
	}
	out := *t.shape
	out.Modules = nil
	for i, m := range t.shape.Modules {
		m.A.DType, m.A.Data = trained[i].A.DType, trained[i].A.Data
		m.B.DType, m.B.Data = trained[i].B.DType, trained[i].B.Data
		out.Modules = append(out.Modules, m)
	}
	return &out, nil
}

// State reads everything that the next updates depend on: weights, moments,
// the gradient gathered so far.
func (t *Trainee) State() ([]byte, error) { return t.base.engine.TrainingState(t.slot) }

// Restore puts back what State read of an adapter with the same modules.
func (t *Trainee) Restore(state []byte) error { return t.base.engine.RestoreTraining(t.slot, state) }

// Publish makes the weights of this moment the next version of a name, or version
// 1 of a new name. New requests get them; those under way keep the version they
// began with. Training goes on beside it. The version goes into a slot where there
// is one, else into host memory until it is acquired. An error leaves the name as
// it was.
func (t *Trainee) Publish(name string) error {
	if err := t.base.locked(func() error { return t.publish(name) }); err != nil {
		return fmt.Errorf("publish adapter %s: %w", name, err)
	}
	return nil
}

func (t *Trainee) publish(name string) error {
	b := t.base
	if name == "" {
		return errors.New("the name is empty")
	}
	if err := b.sweep(); err != nil {
		return err
	}
	slot, err := b.place(func(slot int) error { return b.engine.Publish(t.slot, slot) })
	switch {
	case err == nil:
		b.settle(b.push(name, t.shape.Info(), nil), slot)
	case errors.Is(err, ErrNoFreeSlot) || errors.Is(err, engine.ErrOutOfMemory):
		saved, err := b.engine.Save(t.slot)
		if err != nil {
			return err
		}
		b.push(name, t.shape.Info(), image{saved})
	default:
		return err
	}
	b.touch(b.names[name].current)
	return nil
}

// End takes the adapter out of training and frees its memory. What was published
// stays.
func (t *Trainee) End() error {
	b := t.base
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.engine.Detach(t.slot); err != nil {
		return fmt.Errorf("end training of adapter %s: %w", t.shape.Name, err)
	}
	b.jobs[t.slot] = false
	b.freed()
	return nil
}

// TrainingBytes is what training an adapter would take of a device's memory.
func (a *Adapter) TrainingBytes(device *engine.Device, checkpoint *weights.Checkpoint, config engine.Config) (int64, error) {
	return engine.TrainingBytes(device, checkpoint, config, a.forEngine())
}
