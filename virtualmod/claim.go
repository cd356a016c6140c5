package virtualmod

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"loquetier/engine"
)

// A Claim is the way of a request, from when it is queued to its end, to the
// adapter of a name: first it waits for the adapter, which a Loader brings onto the
// device meanwhile, then it holds the version that is current when it begins. It is
// the scheduler's Adapter.
type Claim struct {
	base  *Base
	name  string
	want  *want  // what it waited for last; nil: it was resident
	lease *Lease // once it holds one
	over  bool
}

// want is an adapter to be brought onto the device.
type want struct {
	name string
	keep bool          // wanted though no claim waits for it
	full bool          // there was no memory for it beside what is in use
	jobs bool          // of which only jobs are left: it waits for the end of one
	done chan struct{} // closed when it is there, or err tells why not
	err  error
}

// Claim claims the current version that a name will have when Hold is called, and
// has it brought onto the device if it is not there. The empty name is the base model.
// Release ends it. An unknown name is refused.
func (b *Base) Claim(name string) (*Claim, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if name == "" {
		return &Claim{base: b, lease: b.lease(nil)}, nil
	}
	l, err := b.find(name)
	if err != nil {
		return nil, err
	}
	b.claims[name]++
	c := &Claim{base: b, name: name}
	c.waits(l)
	return c, nil
}

// Want has an adapter brought onto the device, without a claim on it.
func (b *Base) Want(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, err := b.find(name)
	if err == nil && !b.gives(l.current) {
		b.wanted(name).keep = true
	}
	return err
}

// gives tells whether requests may begin on a version: it is resident, and not to
// make room.
func (b *Base) gives(v *version) bool { return v.slot != nowhere && v != b.yields }

// wanted is the want of a name, which may be new.
func (b *Base) wanted(name string) *want {
	for _, w := range b.wants {
		if w.name == name {
			return w
		}
	}
	w := &want{name: name, done: make(chan struct{})}
	if b.over {
		b.satisfy(w, ErrNotLoading)
		return w
	}
	b.wants = append(b.wants, w)
	b.rouse()
	return w
}

// satisfy ends a want: the adapter is there, or err says why it will not be.
func (b *Base) satisfy(w *want, err error) {
	w.err = err
	close(w.done)
	b.drop(w)
}

// drop takes a want from the list. Whoever was to make room for it need not.
func (b *Base) drop(w *want) {
	if i := slices.Index(b.wants, w); i >= 0 {
		b.wants = slices.Delete(b.wants, i, i+1)
		b.yields = nil
	}
}

func (b *Base) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// waits tells whether the claim has to wait, and has the adapter brought then.
func (c *Claim) waits(l *lineage) bool {
	if c.base.gives(l.current) {
		return false
	}
	if c.want != nil && c.want.err != nil {
		return false
	}
	c.want = c.base.wanted(c.name)
	return c.want.err == nil
}

// Name is the adapter's, empty for the base model.
func (c *Claim) Name() string { return c.name }

// Ready tells whether Hold has an answer: the adapter is there or never will be.
func (c *Claim) Ready() bool {
	c.base.mu.Lock()
	defer c.base.mu.Unlock()
	return c.ready()
}

func (c *Claim) ready() bool {
	if c.lease != nil {
		return true
	}
	l, err := c.base.find(c.name)
	return err != nil || !c.waits(l)
}

// Lacks says what an adapter that is not ready lacks: a slot, or memory beside what is in
// use. nil: it is on its way, or its turn comes.
func (c *Claim) Lacks() error {
	b := c.base
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.ready() {
		return nil
	}
	err := error(nil)
	if b.idle() == nil {
		_, err = b.freeSlot()
	}
	if err == nil && c.want.full {
		err = engine.ErrOutOfMemory
	}
	if err != nil {
		return fmt.Errorf("load adapter %s: %w", c.name, err)
	}
	return nil
}

// Hold leases the current version until Release, or says why there is none to be
// had. It is called where Ready says so, in the goroutine of the steps.
func (c *Claim) Hold() (slot int, version uint64, err error) {
	c.base.mu.Lock()
	defer c.base.mu.Unlock()
	return c.hold()
}

func (c *Claim) hold() (slot int, version uint64, err error) {
	b := c.base
	if c.lease != nil {
		return c.lease.slot, c.lease.id, nil
	}
	l, err := b.find(c.name)
	switch {
	case err != nil:
		return 0, 0, err
	case l.current.slot == nowhere && c.want != nil && c.want.err != nil:
		return 0, 0, c.want.err
	case l.current.slot == nowhere || c.over:
		return 0, 0, errors.New("BUG: an adapter is held that is not there")
	}
	b.touch(l.current)
	c.lease = b.lease(l.current)
	b.unclaim(c.name)
	return c.lease.slot, c.lease.id, nil
}

// Release ends the claim, held or not. A second call does nothing.
func (c *Claim) Release() {
	b := c.base
	b.mu.Lock()
	held, over := c.lease, c.over
	c.over = true
	if held == nil && !over {
		b.unclaim(c.name)
	}
	b.mu.Unlock()
	if held != nil {
		held.Release()
	}
}

// unclaim takes back a claim that has not begun. What nobody waits for any longer
// need not come.
func (b *Base) unclaim(name string) {
	if b.claims[name]--; b.claims[name] > 0 {
		return
	}
	delete(b.claims, name)
	for _, w := range b.wants {
		if w.name == name && !w.keep {
			b.drop(w)
			break
		}
	}
	b.rouse()
}

// Wait waits until the claim holds a version, or cannot.
func (c *Claim) Wait(ctx context.Context) error {
	for {
		want, err := c.try()
		if want == nil {
			return err
		}
		select {
		case <-want.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// try holds a version or says why it cannot, all at once: what is ready now need not be in a
// moment, where steps run. Where the adapter is not ready it gives what to wait for.
func (c *Claim) try() (*want, error) {
	c.base.mu.Lock()
	defer c.base.mu.Unlock()
	if !c.ready() {
		return c.want, nil
	}
	_, _, err := c.hold()
	return nil, err
}

// Slot is where the version lies that the claim holds.
func (c *Claim) Slot() int { return c.lease.slot }

// Version is what the claim holds; see Lease.Version.
func (c *Claim) Version() uint64 { return c.lease.id }
