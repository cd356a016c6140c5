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
			for j, tuning := range normGradTunings(t) {
				act := types[j%len(types)]
				k, copied := kernels(t, tuning, act, act), b.blank(act.Size()*len(dx))
				if n.Copy = copied.Range; act == weights.F32 {
					n.Copy = vk.Range{}
				}
				b.dispatch(func(rec *vk.Recorder) error { return k.NormGrad(rec, n) }, out, copied)
				what := fmt.Sprintf("width %d, %d of %d rows, %v, workgroup %d", width, n.Rows, rows, act, tuning.ShrinkWorkgroup)
				requireClose(t, want, out.numbers(b, weights.F32), weights.F32, what)
				if n.Copy.Size > 0 {
					requireClose(t, where(want, list, width), copied.numbers(b, act), act, what)
				}
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

// where has NaN in the rows that are not in a list; nil: all are.
func where(x []float64, list []int32, width int) []float64 {
	if list == nil {
		return x
	}
	out := make([]float64, len(x))
	for i := range out {
		if out[i] = x[i]; !slices.Contains(list, int32(i/width)) {
			out[i] = nan
		}
	}
	return out
}
