package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

func TestShrinkGrad(t *testing.T) {
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b, tunings := newBench(t, 22), shrinkTunings(t, act)
			for i, c := range gradCases() {
				if c.popularity == "" || c.popularity == "empty" { // no tiles, and so no dispatch
					continue
				}
				p := b.newProduct(c.shape, act, act)
				dy, slots := b.normal(c.rows*p.Width(engine.Plain), 1, act), b.slotsOf(c.popularity, c.rows, p.slots)
				want, onDevice := ref.ShrinkGrad(p.modules, dy, slots, p.stride), b.stored(widened(dy, p.Width(engine.Plain)), act)
				u := b.blank(4 * len(want))
				for j, tuning := range tunings {
					if j > 1 && (i+j)%5 > 0 {
						continue
					}
					tuning.ShrinkGradQuads = uint32(1 + j%2)
					k := kernels(t, tuning, act, act)
					s := engine.ShrinkGrad{
						Product: p.Product, Tiles: b.tilesOf(slots, tuning.ShrinkRows, j == 0), DY: onDevice, U: u.Range, Reads: p.reads,
						Rows: c.rows, Stride: p.stride, MaxRank: p.stride,
					}
					b.dispatch(func(rec *vk.Recorder) error { return k.ShrinkGrad(rec, s) }, u)
					requireClose(t, want, u.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v, %+v", c, tuning))
				}
			}
		})
	}
}
