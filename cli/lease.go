package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"loquetier/models"
	"loquetier/virtualmod"
)

// acquire leases an adapter by name; "" and "base" are the model alone. One that
// is on the device already does not wait for the end of a step. The embedded
// adapters of the embedded model are attached when first asked for.
func (s *session) acquire(name string) (*virtualmod.Lease, error) {
	if name == baseName {
		name = ""
	}
	lease, ok := s.base.TryAcquire(name)
	if !ok {
		var err error
		if stopped := s.scheduler.Do(func() { lease, err = s.lease(name) }); stopped != nil {
			return nil, stopped
		}
		if err != nil {
			return nil, err
		}
	}
	s.leases.Add(1)
	return lease, nil
}

// hold acquires a request's adapter.
func (s *session) hold(p *prepared, adapter string) (err error) {
	if p.lease, err = s.acquire(adapter); err == nil {
		p.request.Slot, p.request.Version = p.lease.Slot(), p.lease.Version()
	}
	return err
}

// lease leases an adapter that is to be brought onto the device first.
func (s *session) lease(name string) (*virtualmod.Lease, error) {
	lease, err := s.base.Acquire(name)
	if !errors.Is(err, virtualmod.ErrUnknownAdapter) {
		return lease, err
	}
	if !s.isEmbedded(name) {
		return nil, fmt.Errorf("%w: %s", err, s.moreAdapters())
	}
	if err := s.attach(adapterOption{name, name}); err != nil {
		return nil, err
	}
	return s.base.Acquire(name)
}

// release gives a lease back and wakes who waits for a slot.
func (s *session) release(lease *virtualmod.Lease) {
	lease.Release()
	s.leases.Add(-1)
	select {
	case s.released <- struct{}{}:
	default:
	}
}

// check finds out whether an adapter can be used.
func (s *session) check(adapter string) error {
	lease, err := s.acquire(adapter)
	if err == nil {
		s.release(lease)
	}
	return err
}

// prepareInTurn is prepare, which it repeats while requests that are under way
// use every slot. It is for one goroutine at a time.
func (s *session) prepareInTurn(ctx context.Context, w wireRequest) (prepared, error) {
	for {
		before := s.leases.Load()
		p, err := s.prepare(w)
		if before == 0 || !errors.Is(err, virtualmod.ErrNoFreeSlot) {
			return p, err
		}
		select {
		case <-s.released:
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
}

// moreAdapters tells how to get adapters.
func (s *session) moreAdapters() string {
	if s.options.model == stories {
		return "add --adapter NAME=DIR, or use " + storiesAdapters()
	}
	return "add --adapter NAME=DIR"
}

func (s *session) isEmbedded(name string) bool {
	return s.options.model == stories && slices.ContainsFunc(models.Adapters(), func(a string) bool { return name == stories+"/"+a })
}
