package shaders

import (
	"fmt"
	"math"
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
		return fmt.Sprintf("vector-%dx%dx%d-w%d", w.Vector.MaxRows, w.Vector.Columns, w.Vector.Depth, w.Vector.Workgroup)
	case w.Few != nil:
		return fmt.Sprintf("few-%dx%dx%d-w%d-a%d-g%d", w.Few.Rows, w.Few.Columns, w.Few.Depth, w.Few.Workgroup, w.Few.Across, w.Few.Groups)
	case w.Matrix != nil:
		m := w.Matrix
		return fmt.Sprintf("matrix-%dx%dx%d-s%dx%d-k%d", m.Rows, m.Columns, m.Depth, m.SubgroupRows, m.SubgroupColumns, m.Shares)
	case w.Matrix2:
		return "matrix2"
	case w.Tile != nil:
		return fmt.Sprintf("tile-%dx%d-w%d-k%t", w.Tile.Rows, w.Tile.Columns, w.Tile.Workgroup, w.Tile.SplitK)
	}
	return "none"
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

// For is the way for a product: of the classes of its sort those with the fewest
// rows that are no fewer than its own, or else the most rows, and of these the nearest in
// width. The zero value where nothing of the sort was measured.
func (c Choices) For(product Class) Way {
	var best *Choice
	for i := range c {
		if m := &c[i]; m.sort() == product.sort() && (best == nil || product.prefers(m.Class, best.Class)) {
			best = m
		}
	}
	if best == nil {
		return Way{}
	}
	return best.Way
}

// sort is what has to be equal.
func (c Class) sort() [3]bool { return [3]bool{c.Grad, c.Gated, c.Adapters} }

// prefers tells whether measurement a is nearer to a product than b is.
func (c Class) prefers(a, b Class) bool {
	if a.Rows == b.Rows {
		return c.distance(a) < c.distance(b)
	}
	if enough := a.Rows >= c.Rows; enough != (b.Rows >= c.Rows) {
		return enough
	} else if enough {
		return a.Rows < b.Rows
	}
	return a.Rows > b.Rows
}

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
		ways = append(t.vectorWays(c.Rows), t.fewWays(c.Rows)...)
	}
	ways = append(ways, Way{Matrix2: true})
	for _, m := range t.matrices() {
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

func (t Tuning) vectorWays(rows int) []Way {
	var ways []Way
	for _, v := range append(t.Vector[:len(t.Vector):len(t.Vector)], t.Trials.Vector...) {
		if rows <= v.MaxRows {
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

// matrices are all tiles of products on cooperative matrices.
func (t Tuning) matrices() []MatrixTile {
	if t.MatrixRows == 0 {
		return nil
	}
	return append([]MatrixTile{t.Matrix, t.MatrixGrad}, t.Trials.Matrix...)
}
