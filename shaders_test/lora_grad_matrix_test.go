package shaders_test

import (
	"testing"

	"loquetier/engine/weights"
	"loquetier/shaders"
)

// U and V are rounded to the activation type on their way into the matrices,
// which leaves these as they are.
func TestLoRAGradOnMatrices(t *testing.T) {
	onAdapterMatrices(t, func(t *testing.T, act weights.DType, tuning shaders.Tuning) {
		b := newBench(t, 26)
		for _, c := range adapterMatrixCases() {
			b.newLoRAGrad(c, act, act).check(b, tuning, c)
		}
	})
}
