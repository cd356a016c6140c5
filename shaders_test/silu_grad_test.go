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
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b := newBench(t, 52)
			for i, width := range []int{4, 12, 260, 192, 1100} {
				b.siluGrad([]int{1, 133, 3, 7, 3}[i], width, act)
			}
		})
	}
}

// siluGrad runs a shape in all tunings, with the gradient apart and in place.
func (b *bench) siluGrad(rows, width int, act weights.DType) {
	b.Helper()
	gateUp, dy := b.normal(rows*2*width, 3, act), b.normal(rows*width, 1, weights.F32)
	want, wantY := ref.SiLUGrad(gateUp, dy, width)
	apart, inPlace, y := b.blank(act.Size()*len(want)), b.holding(encode(gateUp, act)), b.blank(act.Size()*len(wantY))
	s := engine.SiLUGrad{DY: b.stored(dy, weights.F32), Y: y.Range, Rows: rows, Width: width}
	for _, tuning := range mapTunings(b.T) {
		k, what := kernels(b.T, tuning, act, act), fmt.Sprintf("%d rows of %d, workgroup %d", rows, width, tuning.MapWorkgroup)
		s.GateUp = b.stored(gateUp, act)
		for _, d := range []*output{apart, inPlace} {
			if s.D = d.Range; d == inPlace {
				s.GateUp = d.Range
			}
			b.dispatch(func(rec *vk.Recorder) error { return k.SiLUGrad(rec, s) }, d, y)
			requireClose(b, want, d.numbers(b, act), act, what)
			requireClose(b, wantY, y.numbers(b, act), act, what)
		}
	}
}

// Far from zero, where e^-gate is 0 or infinite, the gradient is that of a
// line, or none.
func TestSiLUGradOfLargeGates(t *testing.T) {
	for _, name := range []string{"software", "gpu"} {
		b, k := newBench(t, 53), kernels(t, tuning(t, name), weights.F32, weights.F32)
		out, y := b.blank(4*8), b.blank(4*4)
		s := engine.SiLUGrad{
			GateUp: b.stored([]float32{1000, -1000, 3e38, -3e38, 2, 3, 0.5, 5}, weights.F32),
			DY:     b.stored([]float32{1, 1, 1, 1}, weights.F32), D: out.Range, Y: y.Range, Rows: 1, Width: 4,
		}
		b.dispatch(func(rec *vk.Recorder) error { return k.SiLUGrad(rec, s) }, out, y)
		requireExact(t, []float64{2, 0, 0.5, 0, 1000, 0, float64(float32(3e38)), 0}, out.numbers(b, weights.F32), name)
		requireExact(t, []float64{2000, 0, float64(float32(3e38)) / 2, 0}, y.numbers(b, weights.F32), name)
	}
}
