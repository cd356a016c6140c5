package virtualmod

import (
	"cmp"
	"errors"
	"fmt"

	"loquetier/engine"
)

// Publish is Trainee.Publish while steps run. What has to make room and is nowhere
// else is read first, piece by piece. Where there is no room the weights of the moment are
// set aside, read the same way, and published into host memory.
func (l *Loader) Publish(t *Trainee, name string) error {
	l.ways.Add(1)
	defer l.ways.Done()
	if err := l.publish(t, name); err != nil {
		return fmt.Errorf("publish adapter %s: %w", name, err)
	}
	return nil
}

func (l *Loader) publish(t *Trainee, name string) error {
	for {
		aside, err := l.beginPublish(t, name)
		var u unsavedError
		switch {
		case errors.As(err, &u):
			if err := cmp.Or(l.save(u.version)); err != nil {
				return err
			}
			continue
		case err != nil || aside == nil:
			return err
		}
		if err := cmp.Or(l.fetch(aside)); err != nil {
			return err
		}
		return l.loop.Beside(func() { // from where requests begin: none may be about to begin on the version before
			l.base.mu.Lock()
			defer l.base.mu.Unlock()
			t.publishOnHost(name, aside.Image())
		})
	}
}

// beginPublish publishes in a slot or, where there is none, sets the weights aside.
func (l *Loader) beginPublish(t *Trainee, name string) (aside *engine.Download, err error) {
	b := l.base
	stopped := l.loop.Do(func() {
		err = b.locked(func() error {
			if idle := b.idle(); idle != nil && idle.unsaved() && !b.hasSlot() {
				return idle.stay()
			}
			err := t.publishInSlot(name)
			if !wantsRoom(err) {
				return err
			}
			if aside, err = b.engine.SnapshotAdapter(t.slot); errors.Is(err, engine.ErrOutOfMemory) {
				return t.publish(name)
			}
			return err
		})
	})
	return aside, cmp.Or(err, stopped)
}

// Train is Base.Train while steps run. The loader reads and restores the adapter, too.
func (l *Loader) Train(a *Adapter) (*Trainee, error) {
	l.ways.Add(1)
	defer l.ways.Done()
	t, err := l.train(a)
	if err != nil {
		return nil, fmt.Errorf("train adapter %s: %w", a.Name, err)
	}
	return t, nil
}

func (l *Loader) train(a *Adapter) (*Trainee, error) {
	for {
		u, err := l.beginTraining(a)
		var unsaved unsavedError
		if errors.As(err, &unsaved) {
			if err = cmp.Or(l.save(unsaved.version)); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if err = l.send(u, func() { l.base.abandon(u) }, func() bool { return true }); err == nil {
			err = l.endTraining(u)
		}
		return &Trainee{base: l.base, loader: l, slot: u.Slot(), shape: a}, err
	}
}

// beginTraining makes room for an adapter that is to be trained.
func (l *Loader) beginTraining(a *Adapter) (u *engine.Upload, err error) {
	b := l.base
	stopped := l.loop.Do(func() {
		err = b.locked(func() error {
			if err := b.sweep(); err != nil {
				return err
			}
			var err error
			u, err = b.makeRoom(func(slot int) (*engine.Upload, error) { return b.engine.BeginTraining(slot, a.forEngine()) })
			return err
		})
	})
	return u, cmp.Or(err, stopped)
}

func (l *Loader) endTraining(u *engine.Upload) (err error) {
	b := l.base
	stopped := l.loop.Do(func() {
		err = b.locked(func() error {
			b.coming[u.Slot()] = false
			err := u.Finish()
			b.jobs[u.Slot()] = err == nil
			return err
		})
	})
	if stopped != nil {
		l.afterwards(u.Cancel)
	}
	return cmp.Or(err, stopped)
}

// End is Trainee.End while steps run: once the backward pass that is under way is over, whose
// rest would have to run at once before the adapter can go.
func (l *Loader) End(t *Trainee) (err error) {
	stopped := l.loop.DoBetweenPasses(func() { err = t.End() })
	return cmp.Or(err, stopped)
}

// restore brings a training state back piece by piece.
func (l *Loader) restore(t *Trainee, state []byte) error {
	l.ways.Add(1)
	defer l.ways.Done()
	var r *engine.Restore
	var err error
	stopped := l.loop.Beside(func() { r, err = l.base.engine.BeginRestore(t.slot, state) })
	if err := cmp.Or(err, stopped); err != nil {
		return err
	}
	if err := l.send(r, r.Cancel, func() bool { return true }); err != nil {
		return err
	}
	if stopped = l.loop.Do(func() { err = r.Finish() }); stopped != nil {
		l.afterwards(r.Cancel)
	}
	return cmp.Or(err, stopped)
}
