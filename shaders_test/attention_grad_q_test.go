package shaders_test

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

func (g attentionGrad) checkQ(b *bench) func(*engine.Kernels, string) {
	wantD, wantDelta := g.oracle.GradQ(g.runs), g.oracle.Delta(g.runs)
	op, delta := g.AttentionGrad, b.blank(int(g.delta.Size))
	op.Delta = delta.Range
	return func(k *engine.Kernels, what string) {
		b.dispatch(func(rec *vk.Recorder) error { return k.AttentionGradQ(rec, op) }, g.d, delta)
		got := g.d.numbers(b, weights.F32)
		if g.Window == 1 {
			// A query that sees only itself has no gradient: the kernel's is the
			// rounding of terms as large as delta, so one joins the comparison.
			size := slices.MaxFunc(wantDelta, func(x, y float64) int { return cmp.Compare(math.Abs(x), math.Abs(y)) })
			requireClose(b, append(slices.Clone(wantD), size), append(got, size), weights.F32, what)
		} else {
			requireClose(b, wantD, got, weights.F32, what)
		}
		requireClose(b, wantDelta, delta.numbers(b, weights.F32), weights.F32, what)
	}
}

func TestAttentionGradQInEveryHead(t *testing.T) {
	b := newBench(t, 39)
	inEveryHead(b, attentionGrad.checkQ)
}

func TestAttentionGradQInEveryWorkgroup(t *testing.T) {
	b := newBench(t, 40)
	inEveryWorkgroup(b, attentionGrad.checkQ)
}
