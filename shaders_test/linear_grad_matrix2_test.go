package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// gradMatrix2Cases are gradients of one to three modules, with one adapter or none in
// each tile; of some rows are left over.
func gradMatrix2Cases() []linearCase {
	cases := []linearCase{
		{shape: shape{in: 128, outs: []int{128}}, rows: 128},
		{shape: shape{in: 256, outs: []int{256, 128, 384}}, rows: 384},
	}
	for i, outs := range [][]int{{128}, {256, 256}, {128, 256, 128}} {
		cases = append(cases, linearCase{
			shape: shape{in: 256, outs: outs, ranks: []int{3, 8, 40}[:1+i], train: true}, rows: 256 + i, popularity: "identical", narrow: true,
		})
	}
	return cases
}

func TestLinearGradOnMatrices2(t *testing.T) {
	row := onMatrices2(t)
	for _, dt := range matrixTypes(t) {
		b, k := newBench(t, 22), kernels(t, row, dt, dt)
		for _, c := range gradMatrix2Cases() {
			l, want, dx := b.newLinearGrad(c, dt, dt)
			b.dispatch(func(rec *vk.Recorder) error { return k.LinearGrad(rec, l) }, dx)
			requireClose(t, want, dx.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v %v", dt, c))
		}
	}
}
