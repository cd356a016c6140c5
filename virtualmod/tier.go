package virtualmod

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"loquetier/engine"
)

// Prefetch brings an adapter's current version onto the device, as Acquire
// would, without a lease on it.
func (b *Base) Prefetch(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.resident(name)
	return err
}

// Sweep frees what versions take of the device that no new request can get and
// no lease holds any longer. Each call for the space between two steps begins
// with it. What has to be read before is left to the Loader, where there is one.
func (b *Base) Sweep() error {
	return b.locked(b.sweep)
}

func (b *Base) sweep() error {
	for _, v := range b.residents {
		if v == nil || !v.passed() || b.read && v.unsaved() {
			continue
		}
		if err := b.putOut(v); err != nil {
			return fmt.Errorf("free version %d of adapter %s: %w", v.number, v.lineage.name, err)
		}
	}
	return nil
}

// passed tells whether no new request can get a version and no lease holds it.
func (v *version) passed() bool { return v.leases == 0 && v != v.lineage.current }

// resident finds a name's current version, brings it onto the device where it is
// not there, and counts it as used.
func (b *Base) resident(name string) (*version, error) {
	l, err := b.find(name)
	if err != nil {
		return nil, err
	}
	if err := b.sweep(); err != nil {
		return nil, err
	}
	v := l.current
	if v.slot == nowhere {
		slot, err := b.place(func(slot int) error {
			u, err := v.host.begin(b.engine, slot)
			if err != nil {
				return err
			}
			return u.Run()
		})
		if err != nil {
			return nil, fmt.Errorf("load adapter %s: %w", name, err)
		}
		b.settle(v, slot)
	}
	b.touch(v)
	return v, nil
}

func (b *Base) settle(v *version, slot int) {
	b.residents[slot], v.slot, v.since = v, slot, time.Now()
	b.renewed(v.lineage.name) // who waits for it by another way
}

// renewed has a name's want looked at again: its current version is another, or elsewhere.
func (b *Base) renewed(name string) {
	for _, w := range b.wants {
		if w.name == name {
			w.full, w.jobs = false, false
		}
	}
	b.rouse()
}

func (b *Base) touch(v *version) {
	b.clock++
	v.used = b.clock
}

// place finds a slot, puts something into it, and returns it. Versions that
// nobody uses are put out, the least recently acquired first, while there is no slot
// or no memory.
func (b *Base) place(put func(slot int) error) (int, error) {
	for {
		slot, err := b.freeSlot()
		if err == nil {
			if err = put(slot); err == nil {
				return slot, nil
			}
		}
		idle := b.idle()
		if idle == nil || !wantsRoom(err) {
			return 0, err
		}
		if err := b.putOut(idle); err != nil {
			return 0, err
		}
	}
}

// wantsRoom tells whether an error is one that putting others out may help.
func wantsRoom(err error) bool {
	return errors.Is(err, ErrNoFreeSlot) || errors.Is(err, engine.ErrOutOfMemory)
}

func (b *Base) freeSlot() (int, error) {
	training := 0
	for slot, v := range b.residents {
		if v == nil && !b.jobs[slot] && !b.coming[slot] {
			return slot, nil
		}
		if b.jobs[slot] {
			training++
		}
	}
	return 0, fmt.Errorf("%w: of %d slots requests use %d and training %d", ErrNoFreeSlot, len(b.jobs), len(b.jobs)-training, training)
}

// idle is the resident version without leases that was acquired the longest
// time ago; nil where all are in use. One that requests wait for, which have not
// begun yet, is in use, unless it is to make room.
func (b *Base) idle() *version {
	var found *version
	for _, v := range b.residents {
		if v != nil && v.leases == 0 && (v == b.yields || !b.claimed(v)) && (found == nil || v.used < found.used) {
			found = v
		}
	}
	return found
}

// claimed tells whether requests that have not begun would get the version.
func (b *Base) claimed(v *version) bool {
	return v == v.lineage.current && b.claims[v.lineage.name] > 0
}

// putOut takes a version off the device. What may be wanted again and is nowhere
// else is read first.
func (b *Base) putOut(v *version) error {
	if v.host == nil && v.kept() {
		saved, err := b.engine.Save(v.slot)
		if err != nil {
			return err
		}
		v.host = image{saved}
	}
	slot := v.slot
	if i := slices.Index(b.residents, v); i != slot {
		panic(fmt.Sprintf("BUG: a version is in slot %d, but should be in %d", i, slot))
	}
	b.residents[slot], v.slot = nil, nowhere
	if v == b.yields {
		b.yields = nil
	}
	b.freed()
	return b.engine.Detach(slot)
}

// freed notes that there is a slot and memory that there was not.
func (b *Base) freed() {
	for _, w := range b.wants {
		w.full = w.jobs
	}
	b.rouse()
}
