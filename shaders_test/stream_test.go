package shaders_test

import (
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

func TestStream(t *testing.T) {
	b := newBench(t, 62)
	for _, count := range []int{4, 260, 5000} {
		x := b.normal(count, 1, weights.F32)
		to := b.blank(4 * count)
		s := engine.Stream{From: b.stored(x, weights.F32), To: to.Range, Count: count}
		for _, tuning := range shaders.Tunings() {
			k := kernels(t, tuning, weights.F32, weights.F32)
			b.dispatch(func(rec *vk.Recorder) error { return k.Stream(rec, s) }, to)
			requireExact(t, ref.Stream(x), to.numbers(b, weights.F32), count, tuning.Name)
		}
	}
}
