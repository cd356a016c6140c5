package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"loquetier/models"
	"loquetier/virtualmod"
)

// claim claims an adapter by name for a request; "" and "base" are the model alone.
func (s *session) claim(name string) (*virtualmod.Claim, error) {
	if err := s.register(&name); err != nil {
		return nil, err
	}
	return s.base.Claim(name)
}

// register finds an adapter, and makes the model's name that of no adapter. The
// embedded adapters of the embedded model are registered when first asked for.
func (s *session) register(name *string) error {
	if *name == baseName || *name == "" {
		*name = ""
		return nil
	}
	_, err := s.base.State(*name)
	if !errors.Is(err, virtualmod.ErrUnknownAdapter) {
		return err
	}
	if !s.isEmbedded(*name) {
		return fmt.Errorf("%w: %s", err, s.moreAdapters())
	}
	if err := s.attach(adapterOption{*name, *name}); !errors.Is(err, virtualmod.ErrTaken) {
		return err
	}
	return nil // another request was first
}

// hold claims a request's adapter.
func (s *session) hold(p *prepared, adapter string) (err error) {
	if p.claim, err = s.claim(adapter); err == nil {
		p.request.Adapter = p.claim
	}
	return err
}

// acquire waits for an adapter and holds it in its slot.
func (s *session) acquire(ctx context.Context, name string) (*virtualmod.Claim, error) {
	c, err := s.claim(name)
	if err != nil {
		return nil, err
	}
	if err := c.Wait(ctx); err != nil {
		c.Release()
		return nil, err
	}
	return c, nil
}

// lease leases an adapter that must have a slot now: it waits for none.
func (s *session) lease(name string) (lease *virtualmod.Lease, err error) {
	if err := s.register(&name); err != nil {
		return nil, err
	}
	if stopped := s.scheduler.Do(func() { lease, err = s.base.Acquire(name) }); stopped != nil {
		return nil, stopped
	}
	return lease, err
}

// check waits for an adapter and finds out whether it can be used.
func (s *session) check(ctx context.Context, adapter string) error {
	c, err := s.acquire(ctx, adapter)
	if err == nil {
		c.Release()
	}
	return err
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
