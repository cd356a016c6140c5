package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

// Every second case norms a list of rows, and in another order than theirs.
func TestNormVector(t *testing.T) {
	needSums(t)
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b := newBench(t, 36)
			for i, c := range vectorCases() {
				p := b.newProduct(c.shape, act, act)
				x, g := b.normal(c.rows*c.in, 3, weights.F32), b.normal(c.in, 1, weights.F32)
				slots := b.slotsOf(c.popularity, c.rows, p.slots)
				n := engine.Norm{X: b.stored(x, weights.F32), G: b.stored(g, weights.F32), Eps: eps, Width: c.in, Rows: c.rows}
				var list []int32
				for row := range c.rows * (i % 2) {
					list = append(list, int32(c.rows-1-row))
				}
				kept := x[:c.in*((c.rows+1)/2)]
				copied := b.blank(4 * len(kept))
				if list != nil {
					n.List = b.integers(list)
				} else {
					n.Copy = copied.Range
				}
				want := ref.Norm(x, g, eps, list)
				wantV := ref.Shrink(p.modules, rounded32(want), c.in, slots, p.stride) // before h is rounded
				y, v := b.blank(len(want)*act.Size()), b.blank(4*len(wantV))
				n.Y = y.Range
				for j, tuning := range vectorTunings(t) {
					if j > 0 && act != weights.F32 && brief() {
						continue
					}
					k, s := kernels(t, tuning, act, act), p.shrink(b, vk.Range{}, v, slots, tuning, j == 0)
					what := fmt.Sprintf("%v, %+v", c, tuning.ShrinkVector)
					n.Shrink = &s
					b.dispatch(func(rec *vk.Recorder) error { return k.Norm(rec, n) }, y, v)
					requireClose(t, want, y.numbers(b, act), act, what)
					requireClose(t, wantV, v.numbers(b, weights.F32), weights.F32, what)
					if list == nil {
						requireExact(t, wideOf(kept), copied.numbers(b, weights.F32), what)
					}
					n.Shrink = nil
					b.dispatch(func(rec *vk.Recorder) error { return k.Norm(rec, n) }, y)
					requireClose(t, want, y.numbers(b, act), act, what)
				}
			}
		})
	}
}
