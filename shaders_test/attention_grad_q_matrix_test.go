package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// gradOnMatrices runs a check of attention's gradient over heads, windows,
// sequences and tiles.
func gradOnMatrices(t *testing.T, seed uint64, check func(attentionGrad, *bench) func(*engine.Kernels, string)) {
	onMatrices(t, func(t *testing.T, act weights.DType, shared bool) {
		b := newBench(t, seed)
		for i, heads := range matrixHeads() {
			for j, s := range packed[:2] {
				window := []int{0, 50, 0, 16, 5}[(i+2*j)%5]
				g := b.gradOf(b.newMatrixAttention(heads, act, window, s), act, act)
				run := check(g, b)
				for n, q := range []shaders.AttentionTile{tuning(t, "gpu").GradQMatrix[0], {Subgroups: 2, Units: 1, Columns: 16, Stages: 2}} {
					if n > 0 && i > 1 && brief() {
						continue
					}
					kv := q
					if n == 0 {
						kv = tuning(t, "gpu").GradKVMatrix[0]
					}
					q.Shared, kv.Shared = shared, shared
					tuning := tuning(t, "gpu")
					tuning.GradQMatrix, tuning.GradKVMatrix = []shaders.AttentionTile{q}, []shaders.AttentionTile{kv}
					run(kernels(t, tuning, act, act), fmt.Sprintf("%v, %v, window %d, %v, %+v", act, heads, window, s, q))
				}
			}
		}
	})
}

func TestAttentionGradQOnMatrices(t *testing.T) {
	gradOnMatrices(t, 51, func(g attentionGrad, b *bench) func(*engine.Kernels, string) {
		wantD, wantDelta := g.oracle.GradQ(g.runs), g.oracle.Delta(g.runs)
		op, delta := g.AttentionGrad, b.blank(int(g.delta.Size))
		op.Delta = delta.Range
		return func(k *engine.Kernels, what string) {
			b.dispatch(func(rec *vk.Recorder) error { return k.AttentionGradQ(rec, op) }, g.d, delta)
			requireWithin(b, storeError(k.Act), wantD, g.d.numbers(b, weights.F32), weights.F32, what)
			requireClose(b, wantDelta, delta.numbers(b, weights.F32), weights.F32, what)
		}
	})
}
