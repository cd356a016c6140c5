package shaders_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

func TestRandom(t *testing.T) {
	b := newBench(t, 61)
	for _, dt := range types {
		for i, count := range []int{4, 260, 1100} {
			from := weights.Random{Seed: uint32(i * 77), Mean: float32(i % 2), Deviation: []float32{0.02, 0, 1}[i]}
			want := ref.Random(count, from.Seed, float64(from.Mean), float64(from.Deviation))
			x := b.blank(count * dt.Size())
			for _, tuning := range mapTunings(t) {
				k := kernels(t, tuning, weights.F32, weights.F32)
				b.dispatch(func(rec *vk.Recorder) error {
					return k.Random(rec, engine.Random{X: x.Range, Type: dt, Count: count, Random: from})
				}, x)
				requireClose(t, want, x.numbers(b, dt), dt, fmt.Sprintf("%d of %v, workgroup %d", count, dt, tuning.MapWorkgroup))
			}
		}
	}
}

// The oracle's numbers have the mean and deviation they should, and those of
// neighbouring seeds have nothing in common.
func TestRandomNumbersLookRandom(t *testing.T) {
	const n = 1 << 16
	x, y := ref.Random(n, 1, 0, 1), ref.Random(n, 2, 0, 1)
	var sum, squares, fourth, shifted, other float64
	for i := range x {
		sum, squares, fourth = sum+x[i], squares+x[i]*x[i], fourth+math.Pow(x[i], 4)
		shifted, other = shifted+x[i]*x[(i+1)%n], other+x[i]*y[i]
	}
	assert.InDelta(t, 0, sum/n, 0.02)
	assert.InDelta(t, 1, squares/n, 0.02)
	assert.InDelta(t, 3-1.2/8, fourth/n, 0.1, "the kurtosis of a sum of eight")
	assert.InDelta(t, 0, shifted/n, 0.02)
	assert.InDelta(t, 0, other/n, 0.02)
}
