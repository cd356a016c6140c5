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

// normGradTunings are workgroup sizes; the tunings' own are among them.
func normGradTunings(t *testing.T) []shaders.Tuning {
	all := shaders.Tunings()
	for _, wg := range workgroups() {
		other := tuning(t, "gpu")
		other.ShrinkWorkgroup = wg
		all = append(all, other)
	}
	return all
}

func TestNormGrad(t *testing.T) {
	b := newBench(t, 50)
	for i, width := range []int{4, 12, 60, 192, 2048} {
		rows := []int{1, 133, 3, 7, 2}[i]
		x, g, dx := b.normal(rows*width, 3, weights.F32), b.normal(width, 1, weights.F32), b.normal(rows*width, 1, weights.F32)
		var list []int32 // every other row, from the end
		for row := 0; row < rows; row += 2 {
			list = append(list, int32(rows-1-row))
		}
		for _, list := range [][]int32{nil, list} {
			n := engine.NormGrad{X: b.stored(x, weights.F32), G: b.stored(g, weights.F32), Eps: eps, Rows: rows, Width: width}
			if list != nil {
				n.Rows, n.List = len(list), b.integers(list)
			}
			dy, out := b.normal(n.Rows*width, 1, weights.F32), b.holding(encode(dx, weights.F32))
			n.DY, n.DX = b.stored(dy, weights.F32), out.Range
			want := ref.NormGrad(x, g, dy, dx, eps, list)
			for _, tuning := range normGradTunings(t) {
				k := kernels(t, tuning, weights.F32, weights.F32)
				b.dispatch(func(rec *vk.Recorder) error { return k.NormGrad(rec, n) }, out)
				requireClose(t, want, out.numbers(b, weights.F32), weights.F32,
					fmt.Sprintf("width %d, %d of %d rows, workgroup %d", width, n.Rows, rows, tuning.ShrinkWorkgroup))
			}
		}
	}
}

// A row of zeros has the gradient r g dy, with r = 1 / sqrt(eps).
func TestNormGradOfZeros(t *testing.T) {
	b, k := newBench(t, 51), kernels(t, tuning(t, "software"), weights.F32, weights.F32)
	out := b.holding(make([]byte, 16))
	n := engine.NormGrad{
		X: b.stored(make([]float32, 4), weights.F32), G: b.stored([]float32{1, 2, 3, 4}, weights.F32),
		DY: b.stored([]float32{1, 1, -1, 0}, weights.F32), DX: out.Range, Eps: 0.25, Rows: 1, Width: 4,
	}
	b.dispatch(func(rec *vk.Recorder) error { return k.NormGrad(rec, n) }, out)
	requireClose(t, []float64{2, 4, -6, 0}, out.numbers(b, weights.F32), weights.F32)
}
