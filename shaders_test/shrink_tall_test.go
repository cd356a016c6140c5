package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// talls are the tunings' shapes of the shrinks of many rows and some that they
// do not use.
func talls(t *testing.T, act weights.DType) []shaders.Tuning {
	var all []shaders.Tuning
	for _, shape := range []shaders.Tall{tuning(t, "gpu").Tall, {Workgroup: 32, Rows: 3, Quads: 1}, {Workgroup: 8, Rows: 4, Quads: 4}} {
		other := tuning(t, "gpu")
		other.Tall, other.AdapterMatrix = shape, shaders.OnMatrices{}
		if len(all) == 0 || act == weights.F32 || !brief() {
			all = append(all, other)
		}
	}
	return all
}

func TestShrinkTall(t *testing.T) {
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b := newBench(t, 5)
			for _, c := range shrinkCases() {
				p := b.newProduct(c.shape, act, act)
				x, slots := b.normal(c.rows*c.in, 1, act), b.slotsOf(c.popularity, c.rows, p.slots)
				want, onDevice := ref.Shrink(p.modules, x, c.in, slots, p.stride), b.stored(x, act)
				v := b.blank(4 * len(want))
				for _, tuning := range talls(t, act) {
					k, s := kernels(t, tuning, act, act), p.shrink(b, onDevice, v, slots, tuning, false)
					s.Tiles = b.tilesOf(slots, tuning.Tall.Rows, false)
					s.Tall = true
					b.dispatch(func(rec *vk.Recorder) error { return k.Shrink(rec, s) }, v)
					requireClose(t, want, v.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v, %+v", c, tuning.Tall))
				}
			}
		})
	}
}
