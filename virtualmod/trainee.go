package virtualmod

import (
	"cmp"
	"errors"
	"fmt"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// A Trainee is an adapter that is being trained, in a slot of its own. What is
// served under a name never changes by training: only publishing makes the
// weights of that moment an adapter with a name.
type Trainee struct {
	base   *Base
	loader *Loader // reads and restores it piece by piece while steps run; nil: it is done at once
	slot   int
	shape  *Adapter // modules, ranks and scales; its tensors are those it began with
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
	return t.with(trained), nil
}

// with is the adapter with other weights.
func (t *Trainee) with(trained []engine.AdapterModule) *Adapter {
	out := *t.shape
	out.Modules = nil
	for i, m := range t.shape.Modules {
		m.A.DType, m.A.Data = trained[i].A.DType, trained[i].A.Data
		m.B.DType, m.B.Data = trained[i].B.DType, trained[i].B.Data
		out.Modules = append(out.Modules, m)
	}
	return &out
}

// Snapshot keeps everything that the next updates depend on as it is between two steps:
// weights, moments, the gradient gathered so far. read gives it, and the adapter as it is
// then, in float32. It is called once, from any goroutine but that of the steps, and waits for
// pieces that are read beside them; the adapter may be trained on meanwhile.
func (t *Trainee) Snapshot() (read func() (*Adapter, []byte, error), err error) {
	if t.loader != nil {
		d, err := t.base.setAside(func() (*engine.Download, error) { return t.base.engine.SnapshotTraining(t.slot) })
		if err == nil {
			t.loader.ways.Add(1)
			return func() (*Adapter, []byte, error) { return t.fetch(d) }, nil
		}
		if !errors.Is(err, engine.ErrOutOfMemory) {
			return nil, fmt.Errorf("read adapter %s: %w", t.shape.Name, err)
		}
	}
	state, err := t.base.engine.TrainingState(t.slot)
	if err != nil {
		return nil, fmt.Errorf("read adapter %s: %w", t.shape.Name, err)
	}
	return func() (*Adapter, []byte, error) { return t.with(state.Weights()), state.Data, nil }, nil
}

// fetch has what was set aside come.
func (t *Trainee) fetch(d *engine.Download) (*Adapter, []byte, error) {
	defer t.loader.ways.Done()
	if err := cmp.Or(t.loader.fetch(d)); err != nil {
		return nil, nil, fmt.Errorf("read adapter %s: %w", t.shape.Name, err)
	}
	return t.with(d.State().Weights()), d.State().Data, nil
}

// setAside puts out versions that nobody uses, and that are in host memory too, while there
// is no memory on the device for what is to be set aside.
func (b *Base) setAside(begin func() (*engine.Download, error)) (*engine.Download, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		d, err := begin()
		idle := b.idle()
		if idle == nil || idle.unsaved() || !errors.Is(err, engine.ErrOutOfMemory) {
			return d, err
		}
		if err := b.putOut(idle); err != nil {
			return nil, err
		}
	}
}

// Restore puts back the state that Snapshot read of an adapter with the same modules. No
// step may name the adapter before it returns. Where a Loader has brought the adapter it
// takes place beside steps, and is not for their goroutine.
func (t *Trainee) Restore(state []byte) error {
	if t.loader == nil {
		return t.base.engine.RestoreTraining(t.slot, state)
	}
	return t.loader.restore(t, state)
}

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
	err := t.publishInSlot(name)
	if !wantsRoom(err) {
		return err
	}
	saved, err := t.base.engine.Save(t.slot)
	if err == nil {
		t.publishOnHost(name, saved)
	}
	return err
}

// publishInSlot publishes on the device, where there is room.
func (t *Trainee) publishInSlot(name string) error {
	b := t.base
	if name == "" {
		return errors.New("the name is empty")
	}
	if err := b.sweep(); err != nil {
		return err
	}
	slot, err := b.place(func(slot int) error { return b.engine.Publish(t.slot, slot) })
	if err == nil {
		v := b.push(name, t.shape.Info(), nil)
		b.settle(v, slot)
		b.touch(v)
	}
	return err
}

// publishOnHost publishes what was read of the adapter.
func (t *Trainee) publishOnHost(name string, saved *engine.Image) {
	t.base.touch(t.base.push(name, t.shape.Info(), image{saved}))
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
	for _, w := range b.wants {
		w.jobs = false
	}
	b.freed()
	return nil
}

// TrainingBytes is what training an adapter would take of a device's memory.
func (a *Adapter) TrainingBytes(device *engine.Device, checkpoint *weights.Checkpoint, config engine.Config) (int64, error) {
	return engine.TrainingBytes(device, checkpoint, config, a.forEngine())
}
