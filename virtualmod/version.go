package virtualmod

import (
	"fmt"
	"slices"
	"time"

	"loquetier/engine"
)

// KeptVersions is how many older versions of a name are kept, in host memory, to
// roll back to.
const KeptVersions = 2

// lineage is a name's versions. Of a detached name there are none.
type lineage struct {
	name    string
	current *version
	older   []*version // at most KeptVersions, the latest last
	numbers int        // given so far
}

// version is one state of an adapter's weights. It never changes.
type version struct {
	lineage *lineage
	id      uint64 // unique over the life of the Base
	number  int    // counts the name's versions from 1; none is given twice
	info    Info
	host    hostCopy // nil while the weights are only on the device
	unread  bool     // they could not be read from there the last time
	slot    int      // where it is resident, or nowhere
	leases  int
	used    uint64    // when it was last acquired, by the Base's clock
	since   time.Time // when it came into its slot
}

// nowhere is the slot of a version that is not on the device.
const nowhere = -1

// hostCopy is a version's weights in host memory.
type hostCopy interface {
	begin(e *engine.Engine, slot int) (*engine.Upload, error)
}

func (a *Adapter) begin(e *engine.Engine, slot int) (*engine.Upload, error) {
	return e.BeginUpload(slot, a.forEngine())
}

// image is the host copy of what was published: the device's own bytes.
type image struct{ *engine.Image }

func (i image) begin(e *engine.Engine, slot int) (*engine.Upload, error) {
	return e.BeginLoad(slot, i.Image)
}

// kept tells whether requests can still come to the version, now or after
// rolling back.
func (v *version) kept() bool {
	return v == v.lineage.current || slices.Contains(v.lineage.older, v)
}

// push makes a version that is not resident the current one of a name, which may
// be new.
func (b *Base) push(name string, info Info, host hostCopy) *version {
	l := b.names[name]
	if l == nil {
		l = &lineage{name: name}
		b.names[name] = l
	}
	if l.current != nil {
		l.older = append(l.older, l.current)
		l.older = slices.Delete(l.older, 0, max(0, len(l.older)-KeptVersions))
	}
	b.versions++
	l.numbers++
	l.current = &version{lineage: l, id: b.versions, number: l.numbers, info: info, host: host, slot: nowhere, used: b.clock}
	b.renewed(name)
	return l.current
}

// Rollback makes the version before a name's current one current again, and
// forgets the other; requests that began on that one end on it. There are up to
// KeptVersions to go back to, else it returns ErrNoOlderVersion.
func (b *Base) Rollback(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, err := b.find(name)
	if err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	last := len(l.older) - 1
	if last < 0 {
		return fmt.Errorf("roll back adapter %s: %w: there is only version %d", name, ErrNoOlderVersion, l.current.number)
	}
	l.current = l.older[last]
	l.older = slices.Delete(l.older, last, last+1)
	b.renewed(name)
	if err := b.sweep(); err != nil {
		return fmt.Errorf("roll back adapter %s: %w", name, err)
	}
	return nil
}

// State is how things stand with a name.
type State struct {
	Number   int    // of the current version, from 1
	Version  uint64 // its identity, as its leases tell it
	Older    int    // versions to roll back to
	Resident bool   // the current version is on the device
	Leases   int    // requests that use the current version
}

// State tells how things stand with a name.
func (b *Base) State(name string) (State, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, err := b.find(name)
	if err != nil {
		return State{}, err
	}
	v := l.current
	return State{Number: v.number, Version: v.id, Older: len(l.older), Resident: v.slot != nowhere, Leases: v.leases}, nil
}
