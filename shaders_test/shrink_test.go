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

// shrink is the op over a product for rows of the given slots; short is as in tilesOf.
func (p product) shrink(b *bench, x vk.Range, v *output, slots []int32, t shaders.Tuning, short bool) engine.Shrink {
	return engine.Shrink{
		Product: p.Product, Tiles: b.tilesOf(slots, t.ShrinkRows, short), X: x, V: v.Range, Reads: p.reads,
		Rows: len(slots), Stride: p.stride, MaxRank: p.stride,
	}
}

// shrinkTunings are the two tunings, and the workgroup sizes and shapes they
// do not use, as far as they are worth their compilation for a type; without
// the vector family.
func shrinkTunings(t *testing.T, act weights.DType) []shaders.Tuning {
	all := shaders.Tunings()
	for i, wg := range workgroups() {
		lanes := tuning(t, "software")
		lanes.ShrinkWorkgroup, lanes.ShrinkRows, lanes.ShrinkRanks = wg, []uint32{1, 3, 4}[i%3], []uint32{1, 1, 3, 2}[i%4]
		split := tuning(t, "gpu")
		split.ShrinkWorkgroup, split.ShrinkRows, split.ShrinkRanks = wg, []uint32{2, 1, 3}[i%3], []uint32{1, 4, 2}[i%3]
		all = append(all, lanes, split)
	}
	for i := range all {
		all[i].ShrinkVector = shaders.ShrinkVector{}
	}
	return slices.DeleteFunc(all, func(s shaders.Tuning) bool {
		return act != weights.F32 && costly(s.ShrinkSplitK, s.ShrinkRows*s.ShrinkRanks)
	})
}

func shrinkCases() []linearCase {
	cases := []linearCase{
		{shape: shape{in: 4, outs: []int{1}, ranks: []int{1}}, rows: 1, popularity: "identical"},
		{shape: shape{in: 60, outs: []int{7}, ranks: []int{64}}, rows: 133, popularity: "identical"},
	}
	for i, popularity := range popularities {
		if popularity == "empty" { // has no tiles, and so no dispatch
			continue
		}
		cases = append(cases, linearCase{
			shape: shape{in: []int{12, 60, 192}[i%3], outs: [][]int{{7, 3, 1}, {3}, {20, 20}}[i%3], ranks: ranks, dora: true},
			rows:  []int{7, 133, 3, 20}[i%4], popularity: popularity,
		})
	}
	return cases
}

func TestShrink(t *testing.T) {
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b, tunings := newBench(t, 4), shrinkTunings(t, act)
			for i, c := range shrinkCases() {
				p := b.newProduct(c.shape, act, act)
				x, slots := b.normal(c.rows*c.in, 1, act), b.slotsOf(c.popularity, c.rows, p.slots)
				want, onDevice := ref.Shrink(p.modules, x, c.in, slots, p.stride), b.stored(x, act)
				v := b.blank(4 * len(want))
				for j, tuning := range tunings {
					if j > 1 && (i+j)%5 > 0 || j > 5 && act != weights.F32 && brief() {
						continue
					}
					k, s := kernels(t, tuning, act, act), p.shrink(b, onDevice, v, slots, tuning, j == 0)
					b.dispatch(func(rec *vk.Recorder) error { return k.Shrink(rec, s) }, v)
					requireClose(t, want, v.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v, %+v", c, tuning))
				}
			}
		})
	}
}
