package shaders_test

import (
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

func TestAttentionGradKVOnMatrices(t *testing.T) {
	gradOnMatrices(t, 52, func(g attentionGrad, b *bench) func(*engine.Kernels, string) {
		want := g.oracle.GradKV(g.runs)
		return func(k *engine.Kernels, what string) {
			b.dispatch(func(rec *vk.Recorder) error { return k.AttentionGradKV(rec, g.AttentionGrad) }, g.d)
			requireWithin(b, storeError(k.Act), want, g.d.numbers(b, weights.F32), weights.F32, what)
		}
	})
}
