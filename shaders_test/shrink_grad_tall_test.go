package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

func TestShrinkGradTall(t *testing.T) {
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b := newBench(t, 24)
			for _, outs := range [][]int{{32}, {20, 12, 4}, {260, 260}} {
				for i, popularity := range []string{"identical", "uniform", "distinct", "mixed"} {
					c := linearCase{shape: shape{in: 12, outs: outs, ranks: ranks, train: true}, rows: []int{133, 21, 7, 64}[i], popularity: popularity}
					p := b.newProduct(c.shape, act, act)
					dy, slots := b.normal(c.rows*p.Width(engine.Plain), 1, act), b.slotsOf(popularity, c.rows, p.slots)
					want, onDevice := ref.ShrinkGrad(p.modules, dy, slots, p.stride), b.stored(widened(dy, p.Width(engine.Plain)), act)
					u := b.blank(4 * len(want))
					for _, tuning := range talls(t, act) {
						k := kernels(t, tuning, act, act)
						s := engine.ShrinkGrad{
							Product: p.Product, Tiles: b.tilesOf(slots, tuning.Tall.Rows, false), DY: onDevice, U: u.Range, Reads: p.reads,
							Rows: c.rows, Stride: p.stride, MaxRank: p.stride,
						}
						s.Tall = true
						b.dispatch(func(rec *vk.Recorder) error { return k.ShrinkGrad(rec, s) }, u)
						requireClose(t, want, u.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v, %+v", c, tuning.Tall))
					}
				}
			}
		})
	}
}
