package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

func TestSiLUGrad(t *testing.T) {
	b := newBench(t, 52)
	for i, width := range []int{4, 12, 260, 192, 1100} {
		rows := []int{1, 133, 3, 7, 3}[i]
		gateUp, dy := b.normal(rows*2*width, 3, weights.F32), b.normal(rows*width, 1, weights.F32)
		want := ref.SiLUGrad(gateUp, dy, width)
		apart, inPlace := b.blank(4*len(want)), b.holding(encode(gateUp, weights.F32))
		s := engine.SiLUGrad{DY: b.stored(dy, weights.F32), Rows: rows, Width: width}
		for _, tuning := range mapTunings(t) {
			k, what := kernels(t, tuning, weights.F32, weights.F32), fmt.Sprintf("%d rows of %d, workgroup %d", rows, width, tuning.MapWorkgroup)
			s.GateUp, s.D = b.stored(gateUp, weights.F32), apart.Range
			b.dispatch(func(rec *vk.Recorder) error { return k.SiLUGrad(rec, s) }, apart)
			requireClose(t, want, apart.numbers(b, weights.F32), weights.F32, what)
			s.GateUp, s.D = inPlace.Range, inPlace.Range
			b.dispatch(func(rec *vk.Recorder) error { return k.SiLUGrad(rec, s) }, inPlace)
			requireClose(t, want, inPlace.numbers(b, weights.F32), weights.F32, what+", in place")
		}
	}
}

// Far from zero, where e^-gate is 0 or infinite, the gradient is that of a
// line, or none.
func TestSiLUGradOfLargeGates(t *testing.T) {
	for _, name := range []string{"software", "gpu"} {
		b, k := newBench(t, 53), kernels(t, tuning(t, name), weights.F32, weights.F32)
		out := b.blank(4 * 8)
		s := engine.SiLUGrad{
			GateUp: b.stored([]float32{1000, -1000, 3e38, -3e38, 2, 3, 0.5, 5}, weights.F32),
			DY:     b.stored([]float32{1, 1, 1, 1}, weights.F32), D: out.Range, Rows: 1, Width: 4,
		}
		b.dispatch(func(rec *vk.Recorder) error { return k.SiLUGrad(rec, s) }, out)
		requireExact(t, []float64{2, 0, 0.5, 0, 1000, 0, float64(float32(3e38)), 0}, out.numbers(b, weights.F32), name)
	}
}
