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

// onAdapterMatrices runs a test in the 16-bit types that the device has
// matrices of, for shapes of the adapters' kernels on them: the tuning's and others.
func onAdapterMatrices(t *testing.T, test func(t *testing.T, act weights.DType, tuning shaders.Tuning)) {
	for _, act := range types[1:] {
		for _, shape := range []shaders.OnMatrices{tuning(t, "gpu").AdapterMatrix, {Subgroups: 2, Depth: 32, Across: 2, Shares: 2}, {Subgroups: 4, Depth: 64, Across: 4, Shares: 1}} {
			own := tuning(t, "gpu")
			own.AdapterMatrix = shape
			t.Run(fmt.Sprint(act, shape), func(t *testing.T) {
				if k := kernels(t, own, act, act); !k.OnAdapterMatrices() {
					t.Skip("the device has no such matrices")
				}
				test(t, act, own)
			})
		}
	}
}

// adapterMatrixCases are products for the adapters' kernels on matrices.
func adapterMatrixCases() []linearCase {
	var cases []linearCase
	for i, popularity := range []string{"identical", "uniform", "distinct", "mixed", "skewed"} {
		cases = append(cases, linearCase{
			shape: shape{in: []int{8, 72, 600}[i%3], outs: [][]int{{16, 8, 40}, {136}, {640, 640}}[i%3], ranks: ranks, train: true},
			rows:  []int{133, 64, 7, 40, 21}[i], popularity: popularity,
		})
	}
	return cases
}

func TestShrinkOnMatrices(t *testing.T) {
	onAdapterMatrices(t, func(t *testing.T, act weights.DType, tuning shaders.Tuning) {
		b, k := newBench(t, 6), kernels(t, tuning, act, act)
		for _, c := range adapterMatrixCases() {
			p := b.newProduct(c.shape, act, act)
			x, slots := b.normal(c.rows*c.in, 1, act), b.slotsOf(c.popularity, c.rows, p.slots)
			want := ref.Shrink(p.modules, x, c.in, slots, p.stride)
			v := b.blank(4 * len(want))
			s := engine.Shrink{
				Product: p.Product, Tiles: b.tilesOf(slots, uint32(k.TallRows()), false), X: b.stored(x, act), V: v.Range, Reads: p.reads,
				Rows: c.rows, Stride: p.stride, MaxRank: p.stride,
			}
			s.Tall = true
			b.dispatch(func(rec *vk.Recorder) error { return k.Shrink(rec, s) }, v)
			requireClose(t, want, v.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v", c))
		}
	})
}
