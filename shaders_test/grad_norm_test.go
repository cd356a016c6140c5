package shaders_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

func TestGradNorm(t *testing.T) {
	b := newBench(t, 58)
	sizes := []int{4, 252, 256, 260, 1004, 100000}
	var rows []engine.OptimizerRow
	var outputs []*output
	var want []float64
	g := engine.GradNorm{Updates: len(sizes)}
	for i, n := range sizes {
		gradient, divisor := b.normal(n, 3, weights.F32), float32(1+100*i)
		on, partials := b.stored(gradient, weights.F32), b.blank(4*engine.GradParts)
		rows = append(rows, engine.OptimizerRow{Gradient: on.Address, Partials: partials.Address, Count: uint32(n), Divisor: divisor})
		outputs, want = append(outputs, partials), append(want, ref.GradNorm(gradient, divisor))
		g.Reads, g.Writes = append(g.Reads, on), append(g.Writes, partials.Range)
	}
	g.Rows = b.holding(vk.Bytes(rows)).Range
	for _, tuning := range sampleTunings(t) {
		k := kernels(t, tuning, weights.F32, weights.F32)
		b.dispatch(func(rec *vk.Recorder) error { return k.GradNorm(rec, g) }, outputs...)
		for i, o := range outputs {
			sum := 0.0
			for _, part := range o.numbers(b, weights.F32) {
				sum += part
			}
			require.InEpsilon(t, want[i], math.Sqrt(sum), sumError, fmt.Sprintf("%d floats, workgroup %d", sizes[i], tuning.SampleWorkgroup))
		}
	}
}
