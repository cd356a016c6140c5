package shaders

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// A Way to compute a linear product or its gradient: a kernel family with its
// sizes, as one field has them. The zero value is none.
type Way struct {
	Vector  *Vector
	Few     *Few
	Matrix  *MatrixTile
	Matrix2 bool  // a workgroup's matrices, which have one size
	Tile    *Tile // the family that runs everywhere
}

// String names a way in benchmarks and in the table on the disk. Sizes are rows,
// columns and depth, then what else tells the way apart.
func (w Way) String() string {
	switch {
	case w.Vector != nil:
		return fmt.Sprintf("vector-%dx%dx%d-w%d-k%t", w.Vector.MaxRows, w.Vector.Columns, w.Vector.Depth, w.Vector.Workgroup, w.Vector.SplitK)
	case w.Few != nil:
		return fmt.Sprintf("few-%dx%dx%d-w%d-a%d-g%d", w.Few.Rows, w.Few.Columns, w.Few.Depth, w.Few.Workgroup, w.Few.Across, w.Few.Groups)
	case w.Matrix != nil:
		return w.Matrix.String()
	case w.Matrix2:
		return "matrix2"
	case w.Tile != nil:
		return fmt.Sprintf("tile-%dx%d-w%d-k%t", w.Tile.Rows, w.Tile.Columns, w.Tile.Workgroup, w.Tile.SplitK)
	}
	return "none"
}

// String names a tile in the name of its way.
func (t MatrixTile) String() string {
	name := fmt.Sprintf("matrix-%dx%dx%d-s%dx%d-k%d", t.Rows, t.Columns, t.Depth, t.SubgroupRows, t.SubgroupColumns, t.Shares)
	if t.Groups > 0 {
		name += fmt.Sprintf("-g%d", t.Groups)
	}
	return name
}

// Class is what tells products apart for which different ways are the fastest.
type Class struct {
	Grad     bool `json:"grad,omitempty"`     // the gradient with respect to the input
	Gated    bool `json:"gated,omitempty"`    // two parts become one output
	Adapters bool `json:"adapters,omitempty"` // some row has one
	Rows     int  `json:"rows"`               // 1 or more, as are the widths
	In       int  `json:"in"`
	Out      int  `json:"out"` // of all parts
}

// distance is how far apart the widths of two classes are, as the logarithm of
// their ratios.
func (c Class) distance(d Class) float64 {
	ratio := func(a, b int) float64 { return math.Abs(math.Log(float64(a) / float64(b))) }
	return ratio(c.In, d.In) + ratio(c.Out, d.Out)
}

// Choice is the fastest way for a class of products.
type Choice struct {
	Class
	Way Way
}

// Choices are what was measured on a device.
type Choices []Choice

// MostRows is where classes end: products of more rows are like those of so many.
const MostRows = 2048

// For is the way for a product: of the classes of its sort with its rows, rounded up to a
// power of two, the nearest in width. The zero value where none was measured: what is the
// fastest for fewer rows may be the slowest for it.
func (c Choices) For(product Class) Way {
	product.Rows = min(1<<bits.Len(uint(product.Rows-1)), MostRows)
	var best *Choice
	for i := range c {
		m := &c[i]
		if m.Rows == product.Rows && m.sort() == product.sort() && (best == nil || product.distance(m.Class) < product.distance(best.Class)) {
			best = m
		}
	}
	if best == nil {
		return Way{}
	}
	return best.Way
}

// Has tells whether a class was measured.
func (c Choices) Has(class Class) bool {
	return slices.ContainsFunc(c, func(m Choice) bool { return m.Class == class })
}

// sort is what has to be equal.
func (c Class) sort() [3]bool { return [3]bool{c.Grad, c.Gated, c.Adapters} }

// Trials are shapes that no row of the table chooses by itself, but a device's own
// measurement may.
type Trials struct {
	Vector []Vector
	Few    []Few
	Matrix []MatrixTile
}

// Ways lists what is worth trying for a class of products, without regard to the
// device's abilities.
func (t Tuning) Ways(c Class) []Way {
	var ways []Way
	if !c.Grad {
		ways = append(t.vectorWays(c), t.fewWays(c.Rows)...)
	}
	ways = append(ways, Way{Matrix2: true})
	for _, m := range t.Matrices() {
		if m.Rows < 4*uint32(c.Rows) { // less than a quarter full it only computes padding
			ways = append(ways, Way{Matrix: &m})
		}
	}
	tile := t.LinearGrad
	if !c.Grad {
		tile = t.TileFor(c.Rows)
	}
	return append(ways, Way{Tile: &tile})
}

// WayNamed finds a way among those for a class by what String calls it.
func (t Tuning) WayNamed(c Class, name string) (Way, error) {
	if c.Rows < 1 || c.In < 1 || c.Out < 1 {
		return Way{}, fmt.Errorf("products of the class %+v", c)
	}
	for _, w := range t.Ways(c) {
		if w.String() == name {
			return w, nil
		}
	}
	return Way{}, fmt.Errorf("no way %q to compute %+v", name, c)
}

func (t Tuning) vectorWays(c Class) []Way {
	var ways []Way
	for _, v := range append(t.Vector[:len(t.Vector):len(t.Vector)], t.Trials.Vector...) {
		if c.Rows <= v.MaxRows && v.Holds(c.Out) {
			ways = append(ways, Way{Vector: &v})
		}
	}
	return ways
}

// fewWays are tiles that one or two of hold the rows, and are at least half full.
func (t Tuning) fewWays(rows int) []Way {
	var ways []Way
	for _, f := range append(t.Few[:len(t.Few):len(t.Few)], t.Trials.Few...) {
		if uint32(rows) <= 2*f.Rows && f.Rows <= max(16, 2*uint32(rows)) {
			ways = append(ways, Way{Few: &f})
		}
	}
	return ways
}

// Matrices are all tiles of products on cooperative matrices.
func (t Tuning) Matrices() []MatrixTile {
	if t.MatrixRows == 0 {
		return nil
	}
	all := []MatrixTile{t.Matrix}
	for _, m := range append([]MatrixTile{t.MatrixGrad, t.MatrixLow, t.MatrixShared}, t.Trials.Matrix...) {
		if m != (MatrixTile{}) && !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}
