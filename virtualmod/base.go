// Package virtualmod keeps adapters as values over one shared base: it reads
// them, puts them into the engine's slots, and knows them by name.
package virtualmod

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// ErrUnknownAdapter is returned for a name under which nothing is attached.
var ErrUnknownAdapter = errors.New("unknown adapter")

// Base is one base model with the virtual modules attached to it: each
// adapter an isolated value in a slot of its own that never touches the base's
// weights. It is not safe for concurrent use, nor beside a running step.
type Base struct {
	engine *engine.Engine
	names  map[string]int // adapter name to slot
	jobs   map[int]bool   // slots of adapters that are being trained
	infos  map[string]Info
}

// NewBase wraps an engine without adapters.
func NewBase(e *engine.Engine) *Base {
	return &Base{engine: e, names: map[string]int{}, jobs: map[int]bool{}, infos: map[string]Info{}}
}

// Attach reads an adapter's folder and puts it into a free slot under a name.
// It costs the adapter's own bytes. An error leaves everything as it was.
func (b *Base) Attach(name string, folder weights.Folder) error {
	if err := b.checkName(name); err != nil {
		return fmt.Errorf("attach adapter %s: %w", name, err)
	}
	a, err := ReadPEFT(folder, b.engine.Model())
	if err != nil {
		return fmt.Errorf("attach adapter %s: %w", name, err)
	}
	slot, err := b.freeSlot()
	if err != nil {
		return fmt.Errorf("attach adapter %s: %w", name, err)
	}
	if err := b.engine.Attach(slot, a.forEngine()); err != nil {
		return fmt.Errorf("attach adapter %s: %w", name, err)
	}
	b.names[name], b.infos[name] = slot, a.Info()
	return nil
}

func (b *Base) checkName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if _, taken := b.names[name]; taken {
		return errors.New("the name is taken")
	}
	return nil
}

func (b *Base) freeSlot() (int, error) {
	taken := make([]bool, b.engine.Slots())
	for _, slot := range b.names {
		taken[slot] = true
	}
	for slot := range b.jobs {
		taken[slot] = true
	}
	if free := slices.Index(taken, false); free >= 0 {
		return free, nil
	}
	return 0, fmt.Errorf("all %d slots are taken", b.engine.Slots())
}

// Detach takes an adapter out and frees its memory.
func (b *Base) Detach(name string) error {
	slot, err := b.Slot(name)
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	if err := b.engine.Detach(slot); err != nil {
		return fmt.Errorf("detach adapter %s: %w", name, err)
	}
	delete(b.names, name)
	delete(b.infos, name)
	return nil
}

// Slot finds an attached adapter; the error lists the names there are.
func (b *Base) Slot(name string) (int, error) {
	if slot, ok := b.names[name]; ok {
		return slot, nil
	}
	known := "none is attached"
	if names := b.Names(); len(names) > 0 {
		known = "known are " + strings.Join(names, ", ")
	}
	return 0, fmt.Errorf("%w %q: %s", ErrUnknownAdapter, name, known)
}

// Names lists the attached adapters, sorted.
func (b *Base) Names() []string {
	names := make([]string, 0, len(b.names))
	for name := range b.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Info describes an attached adapter.
func (b *Base) Info(name string) (Info, error) {
	if _, err := b.Slot(name); err != nil {
		return Info{}, err
	}
	return b.infos[name], nil
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
