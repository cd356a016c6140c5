package virtualmod

import "loquetier/engine/batch"

// A Lease is a request's hold on one version of an adapter: until it is released
// the version stays in its slot with the weights it has, whatever is published,
// rolled back or detached under its name.
type Lease struct {
	base    *Base
	version *version // nil: the base model, or released
	slot    int
	id      uint64
}

// Slot is where the version lies; batch.Base for the base model.
func (l *Lease) Slot() int { return l.slot }

// Version tells the weights apart: no two versions over the life of a Base have
// the same one, of whatever name, and a version keeps it through being put out
// and loaded again. The base model's is 0.
func (l *Lease) Version() uint64 { return l.id }

// Release gives the lease back, after the last step that names its slot. A second
// call does nothing.
func (l *Lease) Release() {
	l.base.mu.Lock()
	defer l.base.mu.Unlock()
	if l.version != nil {
		l.version.leases--
		l.version = nil
		l.base.rouse()
	}
}

// Acquire leases the current version of an adapter; the empty name is the base
// model. What is not on the device is loaded, in place of the adapter without
// leases that was acquired the longest time ago where there is no slot or memory
// left. Where requests and jobs use all slots it returns ErrNoFreeSlot.
func (b *Base) Acquire(name string) (*Lease, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if name == "" {
		return b.lease(nil), nil
	}
	v, err := b.resident(name)
	if err != nil {
		return nil, err
	}
	return b.lease(v), nil
}

// TryAcquire is Acquire where that leaves the device alone: of the base model and
// of adapters whose current version is resident. Else it says false.
func (b *Base) TryAcquire(name string) (*Lease, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if name == "" {
		return b.lease(nil), true
	}
	l := b.names[name]
	if l == nil || l.current.slot == nowhere || l.current == b.yields {
		return nil, false
	}
	b.touch(l.current)
	return b.lease(l.current), true
}

func (b *Base) lease(v *version) *Lease {
	if v == nil {
		return &Lease{base: b, slot: batch.Base}
	}
	v.leases++
	return &Lease{base: b, version: v, slot: v.slot, id: v.id}
}
