package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// fragment is the size of the device's square matrices of a type; 0: none.
func fragment(act weights.DType) int {
	return map[weights.DType]vk.Shape{weights.F16: device.Info.MatrixF16, weights.BF16: device.Info.MatrixBF16}[act].M
}

// onMatrices runs a check for each type of which the device has matrices, with
// scores in registers where it can and through shared memory.
func onMatrices(t *testing.T, check func(t *testing.T, act weights.DType, shared bool)) {
	for _, act := range []weights.DType{weights.F16, weights.BF16} {
		for _, shared := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, shared %v", act, shared), func(t *testing.T) {
				if fragment(act) == 0 || !shared && !device.Info.CooperativeMatrix2 {
					t.Skipf("%s has no such matrices", device.Info.Name)
				}
				check(t, act, shared)
			})
		}
	}
}

// matrixHeads are sizes of heads and of groups that share a key head. Software
// devices take a minute to compile a large head.
func matrixHeads() []engine.Heads {
	sizes := []int{128, 64, 80, 128}
	if brief() {
		sizes = []int{16, 32, 48, 16}
	}
	var all []engine.Heads
	for i, group := range []int{4, 1, 3, 8} {
		all = append(all, engine.Heads{Query: 2 * group, Key: 2, Size: sizes[i]})
	}
	return all
}

// newMatrixAttention is a case whose queries a 16-bit fragment holds exactly.
func (b *bench) newMatrixAttention(heads engine.Heads, act weights.DType, window int, s []sequence) attention {
	a := b.newAttention(heads, act, window, s)
	a.oracle.Q = rounded(a.oracle.Q, act)
	a.Q = b.stored(a.oracle.Q, weights.F32)
	return a
}

// prefillMatrix is a check of outputs and statistics. Probabilities are rounded
// to the activation type before they meet the values.
func (a attention) prefillMatrix(b *bench) func(*engine.Kernels, string) {
	op, stats := a.prefillOp(b), b.blank(4*a.Rows*a.Heads.Query)
	op.Stats = stats.Range
	wantY, wantStats := a.oracle.Prefill(a.runs), a.oracle.Stats(a.runs)
	return func(k *engine.Kernels, what string) {
		b.dispatch(func(rec *vk.Recorder) error { return k.AttentionPrefill(rec, op) }, a.y, stats)
		requireWithin(b, storeError(k.Act), wantY, a.y.numbers(b, k.Act), k.Act, what)
		requireClose(b, wantStats, stats.numbers(b, weights.F32), weights.F32, what)
	}
}

func TestAttentionPrefillOnMatrices(t *testing.T) {
	onMatrices(t, func(t *testing.T, act weights.DType, shared bool) {
		b := newBench(t, 50)
		for i, heads := range matrixHeads() {
			for j, s := range chunks[1:] {
				window := []int{0, 50, 0, 16, 1}[(i+2*j)%5]
				a := b.newMatrixAttention(heads, act, window, s)
				run := a.prefillMatrix(b)
				for n, tile := range []shaders.AttentionTile{
					tuning(t, "gpu").PrefillMatrix[1],
					{Subgroups: 2, Units: 2, Columns: 32, Stages: 1},
				} {
					if n > 0 && i > 1 && brief() {
						continue
					}
					tuning := tuning(t, "gpu")
					tile.Shared = shared
					tuning.PrefillMatrix = []shaders.AttentionTile{tile}
					run(kernels(t, tuning, act, act), fmt.Sprintf("%v, window %d, %v, %+v", heads, window, s, tile))
				}
			}
		}
	})
}
