package virtualmod

import (
	"cmp"
	"errors"
	"fmt"

	"loquetier/engine"
)

// Publish is Trainee.Publish while steps run: what has to make room and is nowhere
// else is read first, piece by piece.
func (l *Loader) Publish(t *Trainee, name string) error {
	for {
		var err error
		stopped := l.loop.Do(func() {
			err = l.base.locked(func() error {
				if idle := l.base.idle(); idle != nil && idle.unsaved() && !l.base.hasSlot() {
					return idle.stay()
				}
				return t.publish(name)
			})
		})
		var u unsavedError
		switch {
		case stopped != nil:
			err = stopped
		case errors.As(err, &u):
			if err, stopped = l.save(u.version); err == nil && stopped == nil {
				continue
			}
			err = cmp.Or(err, stopped)
		case err == nil:
			return nil
		}
		return fmt.Errorf("publish adapter %s: %w", name, err)
	}
}

// Train is Base.Train while steps run.
func (l *Loader) Train(a *Adapter) (*Trainee, error) {
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
		if err = l.send(u, func() bool { return true }); err == nil {
			err = l.endTraining(u)
		}
		return &Trainee{base: l.base, slot: u.Slot(), shape: a}, err
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
		u.Cancel()
	}
	return cmp.Or(err, stopped)
}
