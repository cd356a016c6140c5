package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// gradCases are products to go backward through: odd sizes, one to three
// modules, every popularity, no adapters at all.
func gradCases() []linearCase {
	cases := []linearCase{
		{shape: shape{in: 4, outs: []int{1}}, rows: 1},
		{shape: shape{in: 64, outs: []int{133}}, rows: 21},
		{shape: shape{in: 60, outs: []int{20, 12, 4}, ranks: ranks[:1], train: true}, rows: 3, popularity: "identical"},
		{shape: shape{in: 192, outs: []int{7, 133}, ranks: ranks, train: true}, rows: 133, popularity: "uniform"},
	}
	for i, popularity := range popularities {
		cases = append(cases, linearCase{
			shape: shape{in: []int{60, 12, 192}[i%3], outs: [][]int{{7, 3, 1}, {32}, {20, 20}}[i%3], ranks: ranks, train: true},
			rows:  []int{7, 21, 3, 12, 133}[i%5], popularity: popularity,
		})
	}
	return cases
}

// gradTiles are the tile shapes of both tunings and some that they do not use.
func gradTiles() []shaders.Tile {
	all := []shaders.Tile{
		{Workgroup: 16, Rows: 3, Columns: 4},
		{Workgroup: 32, Rows: 1, Columns: 8},
		{Workgroup: 8, Rows: 4, Columns: 8},
	}
	for _, t := range shaders.Tunings() {
		all = append(all, t.LinearGrad)
	}
	return all
}

func TestLinearGrad(t *testing.T) {
	for _, types := range pairs {
		t.Run(fmt.Sprint(types.weight, types.act), func(t *testing.T) {
			b, k := newBench(t, 21), kernels(t, tuning(t, "software"), types.weight, types.act)
			for i, c := range gradCases() {
				l, want, dx := b.newLinearGrad(c, types.weight, types.act)
				for j, tile := range gradTiles() {
					if j > 0 && (i+j)%3 > 0 && types.weight != weights.F32 {
						continue
					}
					l.Tile = &tile
					b.dispatch(func(rec *vk.Recorder) error { return k.LinearGrad(rec, l) }, dx)
					requireClose(t, want, dx.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v, tile %+v", c, tile))
				}
			}
		})
	}
}

// newLinearGrad is a case with the oracle's answer, and where the kernel's goes.
func (b *bench) newLinearGrad(c linearCase, weight, act weights.DType) (engine.LinearGrad, []float64, *output) {
	p := b.newProduct(c.shape, weight, act)
	width := p.Width(engine.Plain)
	dy, dx := b.normal(c.rows*width, 1, act), b.blank(4*c.rows*c.in)
	l := engine.LinearGrad{Product: p.Product, DY: b.stored(widened(dy, width), act), DX: dx.Range, Rows: c.rows}
	var slots []int32
	var u []float32
	if c.popularity != "" {
		slots, u = b.slotsOf(c.popularity, c.rows, p.slots), b.normal(c.rows*len(c.outs)*p.stride, 0.3, c.shrunkType(act))
		l.LoRA = engine.LoRA{V: b.stored(u, weights.F32), Slots: b.integers(slots), Stride: p.stride, Reads: p.reads}
		if c.popularity == "identical" {
			l.Run = 256
		}
	}
	return l, ref.LinearGrad(p.modules, c.in, dy, slots, u, p.stride), dx
}
