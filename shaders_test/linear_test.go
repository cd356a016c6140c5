package shaders_test

import (
	"fmt"
	"slices"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// linearCase is one product to run.
type linearCase struct {
	shape
	rows       int
	popularity string // "": no row has an adapter and there is no slot list
	epilogue   engine.Epilogue
	narrow     bool // the shrink's result is rounded to the activation type, as kernels on matrices do
}

var ranks = []int{1, 2, 5, 8, 16, 64, 0, 3, 4}

// linearCases cover odd sizes, one to three modules, and every popularity.
func linearCases() []linearCase {
	cases := []linearCase{
		{shape: shape{in: 4, outs: []int{1}}, rows: 1},
		{shape: shape{in: 12, outs: []int{7}, bias: true}, rows: 3, epilogue: engine.Add},
		{shape: shape{in: 60, outs: []int{133, 3, 1}, bias: true, ranks: ranks[:1]}, rows: 1, popularity: "identical"},
		{shape: shape{in: 192, outs: []int{7, 133}, ranks: ranks}, rows: 133, popularity: "uniform"},
		{shape: shape{in: 12, outs: []int{12, 12}}, rows: 7, epilogue: engine.SiLU},
		{shape: shape{in: 60, outs: []int{132, 132}}, rows: 3, epilogue: engine.SiLUKeep},
	}
	epilogues := []engine.Epilogue{engine.Plain, engine.Add, engine.SiLU, engine.SiLUKeep}
	outs := [][]int{{7, 3, 1}, {133}, {20, 20}, {20, 20}}
	for i, popularity := range popularities {
		for e, epilogue := range epilogues {
			cases = append(cases, linearCase{
				shape: shape{in: []int{60, 12, 192}[(i+e)%3], outs: outs[e], bias: i%2 == 0, ranks: ranks, dora: i%3 != 1},
				rows:  []int{7, 21, 3, 12, 1}[(i+2*e)%5], popularity: popularity, epilogue: epilogue,
			})
		}
	}
	return cases
}

func (c linearCase) String() string {
	return fmt.Sprintf("%d rows, %d -> %v, %s, epilogue %d, bias %v, DoRA %v", c.rows, c.in, c.outs, c.popularity, c.epilogue, c.bias, c.dora)
}

// linear is a case with its numbers and the oracle's answer.
type linear struct {
	engine.Linear
	oracle ref.Linear
	y      *output
	want   []float64
	out    weights.DType

	keep     *output // with SiLUKeep
	wantKeep []float64
}

// shrunkType is the type whose numbers the shrink's result consists of.
func (c linearCase) shrunkType(act weights.DType) weights.DType {
	if c.narrow {
		return act
	}
	return weights.F32
}

func (b *bench) newLinear(c linearCase, weight, act weights.DType) linear {
	p := b.newProduct(c.shape, weight, act)
	l := linear{out: weights.F32}
	if c.epilogue == engine.SiLU || c.epilogue == engine.SiLUKeep {
		l.out = act
	}
	o := ref.Linear{
		Modules: p.modules, In: c.in, Stride: p.stride, Epilogue: min(ref.Epilogue(c.epilogue), ref.SwiGLU),
		X: b.normal(c.rows*c.in, 1, act),
	}
	l.Linear = engine.Linear{Product: p.Product, X: b.stored(o.X, act), Rows: c.rows, Epilogue: c.epilogue}
	if c.popularity != "" {
		o.Slots = b.slotsOf(c.popularity, c.rows, p.slots)
		o.V = b.normal(c.rows*len(c.outs)*p.stride, 0.3, c.shrunkType(act))
		l.LoRA = engine.LoRA{V: b.stored(o.V, weights.F32), Slots: b.integers(o.Slots), Stride: p.stride, Gains: c.dora, Reads: p.reads}
	}
	n := c.rows * p.Width(c.epilogue)
	l.y = b.blank(n * l.out.Size())
	if c.epilogue == engine.Add {
		o.Y = b.normal(n, 1, weights.F32)
		l.y = b.holding(encode(o.Y, weights.F32))
	}
	l.oracle, l.Y, l.want = o, l.y.Range, o.Run()
	if c.epilogue == engine.SiLUKeep {
		o.Epilogue = ref.Plain // what it keeps is what Plain would give
		l.wantKeep = o.Run()
		l.keep = b.blank(act.Size() * len(l.wantKeep))
		l.Keep = l.keep.Range
	}
	return l
}

// check runs the product in a tile shape (nil: the tuning's own) against the oracle.
func (l linear) check(b *bench, k *engine.Kernels, tile *shaders.Tile, what ...any) {
	b.Helper()
	l.Tile, b.what = tile, fmt.Sprint(what...)
	outputs := []*output{l.y}
	if l.keep != nil {
		outputs = append(outputs, l.keep)
	}
	b.dispatch(func(rec *vk.Recorder) error { return k.Linear(rec, l.Linear) }, outputs...)
	requireClose(b, l.want, l.y.numbers(b, l.out), l.out, what...)
	if l.keep != nil {
		requireClose(b, l.wantKeep, l.keep.numbers(b, l.out), l.out, what...)
	}
}

// tiles are the tile shapes of both tunings, and some small ones over K.
func tiles() []shaders.Tile {
	all := []shaders.Tile{
		{Workgroup: 16, Rows: 2, Columns: 4, SplitK: true},
		{Workgroup: 8, Rows: 3, Columns: 4, SplitK: true},
	}
	for _, t := range shaders.Tunings() {
		all = append(all, t.Linear...)
	}
	return all
}

func TestLinearInEveryTypeAndTile(t *testing.T) {
	for _, types := range pairs {
		t.Run(fmt.Sprint(types.weight, types.act), func(t *testing.T) {
			b, k := newBench(t, 1), kernels(t, tuning(t, "software"), types.weight, types.act)
			for i, c := range linearCases() {
				l := b.newLinear(c, types.weight, types.act)
				if types.weight == weights.F32 || i < len(popularities) {
					l.check(b, k, nil, c)
				}
				for j, tile := range tiles() {
					if runsIn(types.weight, c, j, tile) {
						l.check(b, k, &tile, fmt.Sprintf("%v, tile %+v", c, tile))
					}
				}
			}
		})
	}
}

// runsIn tells whether a case meets the jth tile: in float32 every epilogue
// meets every tile, in the other types one each. Large workgroups over K take long to
// compile; TestLinearInEveryWorkgroup has them as well.
func runsIn(weight weights.DType, c linearCase, j int, tile shaders.Tile) bool {
	if tile.SplitK && tile.Workgroup > 32 && brief() {
		return weight == weights.F32 && c.epilogue == engine.Plain
	}
	if weight == weights.F32 {
		return c.epilogue == engine.Plain || !costly(tile.SplitK, tile.Rows*tile.Columns)
	}
	return j%4 == int(c.epilogue) && !costly(tile.SplitK, tile.Rows*tile.Columns)
}

func TestLinearInEveryWorkgroup(t *testing.T) {
	b, k := newBench(t, 2), kernels(t, tuning(t, "gpu"), weights.F32, weights.F32)
	c := linearCase{shape: shape{in: 192, outs: []int{133, 12, 7}, bias: true, ranks: ranks, dora: true}, rows: 7, popularity: "mixed"}
	wide := c
	wide.outs, wide.epilogue = []int{132, 132}, engine.SiLU
	l, s := b.newLinear(c, weights.F32, weights.F32), b.newLinear(wide, weights.F32, weights.F32)
	for _, wg := range workgroups() {
		for _, split := range []bool{false, true} {
			tile := shaders.Tile{Workgroup: wg, Rows: 1, Columns: 8, SplitK: split}
			if int(4*wg*tile.Rows*tile.Columns) > device.Info.SharedMemory {
				continue
			}
			// Half the sizes compile with each epilogue where it takes long.
			all, half := !split || !brief(), slices.Contains(few(), wg)
			if all || half {
				l.check(b, k, &tile, tile)
			}
			if all || !half {
				s.check(b, k, &tile, tile)
			}
		}
	}
}

// A whole product: the shrink's result goes into the expand in one step, and
// the recorder orders the two.
func TestShrinkThenLinear(t *testing.T) {
	for _, tuning := range shaders.Tunings() {
		b, k := newBench(t, 3), kernels(t, tuning, weights.F32, weights.F32)
		c := linearCase{shape: shape{in: 192, outs: []int{133, 60}, ranks: ranks, dora: true}, rows: 21, popularity: "mixed"}
		p := b.newProduct(c.shape, weights.F32, weights.F32)
		x, slots := b.normal(c.rows*c.in, 1, weights.F32), b.slotsOf(c.popularity, c.rows, p.slots)
		v := ref.Shrink(p.modules, x, c.in, slots, p.stride)
		o := ref.Linear{Modules: p.modules, In: c.in, X: x, Slots: slots, Stride: p.stride}
		for _, f := range v {
			o.V = append(o.V, float32(f))
		}
		want := o.Run()
		onDevice, scratch, y := b.stored(x, weights.F32), b.blank(4*len(v)), b.blank(4*len(want))
		b.dispatch(func(rec *vk.Recorder) error {
			if err := k.Shrink(rec, p.shrink(b, onDevice, scratch, slots, tuning, false)); err != nil {
				return err
			}
			return k.Linear(rec, engine.Linear{
				Product: p.Product, X: onDevice, Y: y.Range, Rows: c.rows,
				LoRA: engine.LoRA{V: scratch.Range, Slots: b.integers(slots), Stride: p.stride, Gains: true, Reads: p.reads},
			})
		}, scratch, y)
		requireClose(t, want, y.numbers(b, weights.F32), weights.F32, tuning.Name)
	}
}
