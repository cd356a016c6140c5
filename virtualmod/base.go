// Package virtualmod keeps adapters as values over one shared base: it reads
// them, knows them by name and version, and puts them into the engine's slots
// as they are wanted.
package virtualmod

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// Errors a caller tells apart.
var (
	ErrUnknownAdapter = errors.New("unknown adapter") // nothing is registered under the name
	ErrTaken          = errors.New("the name is taken")
	ErrNoFreeSlot     = errors.New("no free slot") // requests and jobs use every slot
	ErrNotLoading     = errors.New("adapters are not loaded any more")
	ErrNoOlderVersion = errors.New("no older version") // there is nothing to roll back to
)

// Base is one base model with the virtual modules registered over it: each
// adapter an isolated value that never touches the base's weights. Registered
// adapters lie in host memory, in as many versions as their names have, and in a
// slot of the device only while they are wanted there.
//
// Attach, Add, TryAcquire, Claim, Names, Info, State and the methods of Claims and
// Leases may be called from any goroutine, at any time. All else works on the device
// and is for the space between two steps; a Loader does it piece by piece while steps
// run.
type Base struct {
	engine *engine.Engine
	turn   time.Duration // how long a version in use may keep its slot while others wait for one
	wake   chan struct{} // holds something where the Loader may have something to do

	mu        sync.Mutex // guards what follows
	names     map[string]*lineage
	residents []*version // what is served, by slot
	jobs      []bool     // which slots hold adapters in training
	coming    []bool     // which slots an adapter is on its way to
	versions  uint64     // how many there ever were
	clock     uint64     // counts acquisitions
	claims    map[string]int
	wants     []*want  // in the order in which they came
	over      bool     // there was a Loader, which has ended
	read      bool     // a Loader reads what is to leave the device and is nowhere else
	yields    *version // is to make room: nobody gets it until it has been put out
}

// turn is how long an adapter in use keeps its slot at least while others wait
// for one.
const turn = time.Second

// NewBase wraps an engine without adapters.
func NewBase(e *engine.Engine) *Base {
	return &Base{
		engine: e, turn: turn, wake: make(chan struct{}, 1), names: map[string]*lineage{}, claims: map[string]int{},
		residents: make([]*version, e.Slots()), jobs: make([]bool, e.Slots()), coming: make([]bool, e.Slots()),
	}
}

// Attach registers an adapter's folder under a free name, as its version 1. It
// reads and checks the files and keeps a copy of the tensors, as they are stored,
// in host memory: the folder may be closed or written to afterwards. The device
// is left alone. An error leaves everything as it was.
func (b *Base) Attach(name string, folder weights.Folder) error {
	if err := b.attach(name, folder); err != nil {
		return fmt.Errorf("attach adapter %s: %w", name, err)
	}
	return nil
}

func (b *Base) attach(name string, folder weights.Folder) error {
	if err := b.locked(func() error { return b.checkName(name) }); err != nil {
		return err
	}
	a, err := ReadPEFT(folder, b.engine.Model())
	if err != nil {
		return err
	}
	if err := b.engine.CheckAdapter(a.forEngine()); err != nil {
		return err
	}
	return b.add(name, a.Clone())
}

// Add registers an adapter under a free name, as its version 1, as Attach does
// with a folder's. The adapter is the Base's from then on.
func (b *Base) Add(name string, a *Adapter) error {
	if err := b.add(name, a); err != nil {
		return fmt.Errorf("add adapter %s: %w", name, err)
	}
	return nil
}

func (b *Base) add(name string, a *Adapter) error {
	return b.locked(func() error { // another may have taken the name meanwhile
		if err := b.checkName(name); err != nil {
			return err
		}
		b.push(name, a.Info(), a)
		return nil
	})
}

func (b *Base) locked(f func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return f()
}

func (b *Base) checkName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if _, taken := b.names[name]; taken {
		return ErrTaken
	}
	return nil
}

// Detach forgets an adapter in all its versions. New requests are refused from
// now on; what leases hold stays until the last of them is released.
func (b *Base) Detach(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, err := b.find(name)
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	delete(b.names, name)
	l.current, l.older = nil, nil
	if err := b.sweep(); err != nil {
		return fmt.Errorf("detach adapter %s: %w", name, err)
	}
	return nil
}

// find finds a name; the error lists some of those there are.
func (b *Base) find(name string) (*lineage, error) {
	if l, ok := b.names[name]; ok {
		return l, nil
	}
	const most = 20
	known := "none is attached"
	if names := b.sorted(); len(names) > most {
		known = fmt.Sprintf("known are %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	} else if len(names) > 0 {
		known = "known are " + strings.Join(names, ", ")
	}
	return nil, fmt.Errorf("%w %q: %s", ErrUnknownAdapter, name, known)
}

// Names lists the registered adapters, sorted.
func (b *Base) Names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sorted()
}

func (b *Base) sorted() []string {
	names := make([]string, 0, len(b.names))
	for name := range b.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Info describes an adapter's current version.
func (b *Base) Info(name string) (Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, err := b.find(name)
	if err != nil {
		return Info{}, err
	}
	return l.current.info, nil
}

// forEngine is the adapter in the engine's words.
func (a *Adapter) forEngine() engine.Adapter {
	var out engine.Adapter
	for _, m := range a.Modules {
		out.Modules = append(out.Modules, engine.AdapterModule{
			Layer: m.Layer, Module: m.Kind, Rank: m.Rank, Scale: m.Scale, A: m.A, B: m.B, Magnitude: m.Magnitude,
		})
	}
	return out
}
