package virtualmod

import (
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

// Train puts an adapter into a free slot to be trained from its weights on. An
// error leaves everything as it was.
func (b *Base) Train(a *Adapter) (*Trainee, error) {
	slot, err := b.freeSlot()
	if err != nil {
		return nil, fmt.Errorf("train adapter %s: %w", a.Name, err)
	}
	if err := b.engine.AttachTraining(slot, a.forEngine()); err != nil {
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

// Publish makes the weights of this moment an adapter that is served under a
// free name. Training goes on beside it.
func (t *Trainee) Publish(name string) error {
	b := t.base
	if err := b.checkName(name); err != nil {
		return fmt.Errorf("publish adapter %s: %w", name, err)
	}
	slot, err := b.freeSlot()
	if err != nil {
		return fmt.Errorf("publish adapter %s: %w", name, err)
	}
	if err := b.engine.Publish(t.slot, slot); err != nil {
		return fmt.Errorf("publish adapter %s: %w", name, err)
	}
	b.names[name], b.infos[name] = slot, t.shape.Info()
	return nil
}

// End takes the adapter out of training and frees its memory.
func (t *Trainee) End() error {
	if err := t.base.engine.Detach(t.slot); err != nil {
		return fmt.Errorf("end training of adapter %s: %w", t.shape.Name, err)
	}
	delete(t.base.jobs, t.slot)
	return nil
}

// TrainingBytes is what training an adapter would take of a device's memory.
func (a *Adapter) TrainingBytes(device *engine.Device, checkpoint *weights.Checkpoint, config engine.Config) (int64, error) {
	return engine.TrainingBytes(device, checkpoint, config, a.forEngine())
}
