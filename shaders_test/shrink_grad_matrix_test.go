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

func TestShrinkGradOnMatrices(t *testing.T) {
	onAdapterMatrices(t, func(t *testing.T, act weights.DType, tuning shaders.Tuning) {
		b, k := newBench(t, 25), kernels(t, tuning, act, act)
		for _, c := range adapterMatrixCases() {
			p := b.newProduct(c.shape, act, act)
			dy, slots := b.normal(c.rows*p.Width(engine.Plain), 1, act), b.slotsOf(c.popularity, c.rows, p.slots)
			want := ref.ShrinkGrad(p.modules, dy, slots, p.stride)
			u := b.blank(4 * len(want))
			s := engine.ShrinkGrad{
				Product: p.Product, Tiles: b.tilesOf(slots, uint32(k.TallRows()), false), DY: b.stored(dy, act), U: u.Range, Reads: p.reads,
				Rows: c.rows, Stride: p.stride, MaxRank: p.stride,
			}
			s.Tall = true
			b.dispatch(func(rec *vk.Recorder) error { return k.ShrinkGrad(rec, s) }, u)
			requireClose(t, want, u.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v", c))
		}
	})
}
