package virtualmod

import (
	"cmp"
	"fmt"
	"slices"
)

// SameShape returns nil where a and other have the same modules with tensors of
// the same shapes, so that one's tensors, gradients and optimizer state can stand
// in the other's place; else an error that names the first module that differs,
// and both ranks or shapes. Alphas and scales may differ. Modules are in the
// order in which ReadPEFT and NewAdapter give them.
func (a *Adapter) SameShape(other *Adapter) error {
	if a.DoRA != other.DoRA {
		return fmt.Errorf("the adapters differ: use_dora is %t, in the other %t", a.DoRA, other.DoRA)
	}
	for i := range max(len(a.Modules), len(other.Modules)) {
		if err := sameModule(a.Modules[min(i, len(a.Modules)):], other.Modules[min(i, len(other.Modules)):]); err != nil {
			return fmt.Errorf("the adapters differ: %w", err)
		}
	}
	return nil
}

// sameModule compares the first modules of two lists, of which one may be empty.
func sameModule(mine, others []Module) error {
	switch order := compareFirst(mine, others); {
	case order < 0:
		return fmt.Errorf("module %s has rank %d, the other adapter has no such module", mine[0].name(), mine[0].Rank)
	case order > 0:
		return fmt.Errorf("there is no module %s, in the other adapter it has rank %d", others[0].name(), others[0].Rank)
	}
	m, n := mine[0], others[0]
	if m.Rank != n.Rank {
		return fmt.Errorf("module %s has rank %d, in the other %d", m.name(), m.Rank, n.Rank)
	}
	if !slices.Equal(m.A.Shape, n.A.Shape) || !slices.Equal(m.B.Shape, n.B.Shape) {
		return fmt.Errorf("module %s has A %v and B %v, in the other %v and %v", m.name(), m.A.Shape, m.B.Shape, n.A.Shape, n.B.Shape)
	}
	return nil
}

// compareFirst is negative where the first of mine comes before the first of
// others, or others is empty; positive the other way around.
func compareFirst(mine, others []Module) int {
	if len(mine) == 0 || len(others) == 0 {
		return cmp.Compare(len(others), len(mine))
	}
	return cmp.Or(cmp.Compare(mine[0].Layer, others[0].Layer), cmp.Compare(mine[0].Kind, others[0].Kind))
}
