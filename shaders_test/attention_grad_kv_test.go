package shaders_test

import (
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

func (g attentionGrad) checkKV(b *bench) func(*engine.Kernels, string) {
	want := g.oracle.GradKV(g.runs)
	return func(k *engine.Kernels, what string) {
		b.dispatch(func(rec *vk.Recorder) error { return k.AttentionGradKV(rec, g.AttentionGrad) }, g.d)
		requireClose(b, want, g.d.numbers(b, weights.F32), weights.F32, what)
	}
}

func TestAttentionGradKVInEveryHead(t *testing.T) {
	b := newBench(t, 41)
	inEveryHead(b, attentionGrad.checkKV)
}

func TestAttentionGradKVInEveryWorkgroup(t *testing.T) {
	b := newBench(t, 42)
	inEveryWorkgroup(b, attentionGrad.checkKV)
}
