package shaders_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// sweeps are the tunings' shapes of cross_entropy and some that they do not use.
func sweeps(t *testing.T) []shaders.Tuning {
	all := shaders.Tunings()
	for i, wg := range workgroups() {
		other := tuning(t, "gpu")
		other.CrossEntropy = shaders.Sweep{Workgroup: wg, Ahead: []uint32{1, 2, 4, 8}[i%4]}
		all = append(all, other)
	}
	return all
}

// crossEntropy runs rows of logits in a tuning against the oracle.
func (b *bench) crossEntropy(tuning shaders.Tuning, act weights.DType, logits []float32, targets []int32) {
	b.Helper()
	rows, vocab := len(targets), len(logits)/len(targets)
	gradient, logs := b.blank(act.Size()*rows*padded(vocab)), b.blank(4*rows)
	c := engine.CrossEntropy{
		Logits: b.stored(logits, weights.F32), D: gradient.Range, Targets: b.integers(targets), Logs: logs.Range, Rows: rows, Vocab: vocab,
	}
	k := kernels(b.T, tuning, act, act)
	b.dispatch(func(rec *vk.Recorder) error { return k.CrossEntropy(rec, c) }, gradient, logs)
	what := fmt.Sprintf("%d rows of %d, %v, %+v", rows, vocab, act, tuning.CrossEntropy)
	wantLogs, want := ref.CrossEntropy(logits, targets)
	requireClose(b, widened(want, vocab), gradient.numbers(b, act), act, what)
	for i, got := range logs.numbers(b, weights.F32) {
		// 2^-21 is what Vulkan allows the logarithm near 1.
		require.InDelta(b, wantLogs[i], got, 1e-6+sumError*math.Abs(wantLogs[i]), "row %d of %s", i, what)
	}
}

// widened pads rows with zeros to a multiple of 4.
func widened[T float32 | float64](x []T, width int) []T {
	var out []T
	for ; len(x) > 0; x = x[width:] {
		out = append(append(out, x[:width]...), make([]T, padded(width)-width)...)
	}
	return out
}

func TestCrossEntropy(t *testing.T) {
	b := newBench(t, 54)
	for j, tuning := range sweeps(t) {
		for i, vocab := range []int{1, 4, 5, 384, 2047, 2048} {
			rows := []int{3, 1, 133, 7, 3, 7}[i]
			targets := []int32{int32(vocab - 1)}
			for len(targets) < rows {
				targets = append(targets, b.Int32N(int32(vocab)))
			}
			b.crossEntropy(tuning, types[(i+j)%len(types)], b.normal(rows*vocab, 3, weights.F32), targets)
		}
	}
}

func TestCrossEntropyOfALargeVocabulary(t *testing.T) {
	for i, tuning := range shaders.Tunings() {
		b := newBench(t, 55)
		b.crossEntropy(tuning, types[i], b.logitsLike(151936), []int32{151935})
		b.crossEntropy(tuning, types[i+1], b.logitsLike(3*50257), []int32{0, 50256, 77})
	}
}

// Logits far from each other and from zero, and ones that are ruled out.
func TestCrossEntropyOfExtremeLogits(t *testing.T) {
	never := float32(math.Inf(-1))
	for _, tuning := range shaders.Tunings() {
		for _, vocab := range []int{5, 8} {
			b := newBench(t, 56)
			var logits []float32
			for _, row := range [][]float32{
				{1e4, -1e4, 0, 1e4, 9999.5},
				{1e4, -1e4, 0, 1e4, 9999.5},
				{-1e4, -1e4, -1e4 - 1, -1e4 - 200, -1e4},
				{never, 2, never, never, 3},
				{never, never, never, 1e4, never},
				{7, 7, 7, 7, 7},
				{never, never, never, -3e38, never},
			} {
				logits = append(logits, row...)
				for range vocab - len(row) {
					logits = append(logits, never)
				}
			}
			b.crossEntropy(tuning, weights.F32, logits, []int32{0, 1, 2, 1, 3, 4, 3})
		}
	}
}

// What is not a number stays one, and stays in its row.
func TestCrossEntropyOfNaN(t *testing.T) {
	b, k := newBench(t, 57), kernels(t, tuning(t, "software"), weights.F32, weights.F32)
	logits := b.stored([]float32{1, float32(nan), 2, 3, 0, 0, 0, 0}, weights.F32)
	d, logs := b.blank(4*8), b.blank(8)
	c := engine.CrossEntropy{Logits: logits, D: d.Range, Targets: b.integers([]int32{0, 1}), Logs: logs.Range, Rows: 2, Vocab: 4}
	b.dispatch(func(rec *vk.Recorder) error { return k.CrossEntropy(rec, c) }, d, logs)
	requireClose(t, []float64{nan, nan, nan, nan, 0.25, -0.75, 0.25, 0.25}, d.numbers(b, weights.F32), weights.F32)
	requireClose(t, []float64{nan, math.Log(0.25)}, logs.numbers(b, weights.F32), weights.F32)
}
