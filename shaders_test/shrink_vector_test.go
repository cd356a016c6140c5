package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// vectorTunings are the gpu tuning in shapes of the vector family.
func vectorTunings(t *testing.T) []shaders.Tuning {
	var all []shaders.Tuning
	for i, v := range []shaders.ShrinkVector{
		tuning(t, "gpu").ShrinkVector, {Workgroup: 32, Ranks: 4, Depth: 1}, {Workgroup: 128, Ranks: 1, Depth: 2},
	} {
		v.Workgroup = min(v.Workgroup, uint32(device.Info.MaxWorkgroup))
		t := tuning(t, "gpu")
		t.ShrinkVector, t.ShrinkRows = v, []uint32{4, 1, 2}[i]
		all = append(all, t)
	}
	return all
}

// vectorCases are the cases of shrinks with rows of whole 16-byte pieces.
func vectorCases() []linearCase {
	cases := shrinkCases()
	for i := range cases {
		cases[i].in = (cases[i].in + 7) / 8 * 8
	}
	return append(cases, linearCase{shape: shape{in: 4200, outs: []int{3, 5}, ranks: ranks}, rows: 3, popularity: "distinct"})
}

func TestShrinkVector(t *testing.T) {
	needSums(t)
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b := newBench(t, 35)
			for i, c := range vectorCases() {
				p := b.newProduct(c.shape, act, act)
				x, slots := b.normal(c.rows*c.in, 1, act), b.slotsOf(c.popularity, c.rows, p.slots)
				want, onDevice := ref.Shrink(p.modules, x, c.in, slots, p.stride), b.stored(x, act)
				v := b.blank(4 * len(want))
				for j, tuning := range vectorTunings(t) {
					k, s := kernels(t, tuning, act, act), p.shrink(b, onDevice, v, slots, tuning, (i+j)%2 == 0)
					b.dispatch(func(rec *vk.Recorder) error { return k.Shrink(rec, s) }, v)
					requireClose(t, want, v.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v, %+v", c, tuning.ShrinkVector))
				}
			}
		})
	}
}
