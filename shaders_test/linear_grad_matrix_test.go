package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// gradMatrixCases cover ragged rows and columns, one to three modules, and
// every popularity.
func gradMatrixCases() []linearCase {
	cases := []linearCase{
		{shape: shape{in: 8, outs: []int{64}}, rows: 1},
		{shape: shape{in: 136, outs: []int{128, 64, 64}}, rows: 133},
	}
	for i, popularity := range popularities {
		cases = append(cases, linearCase{
			shape: shape{in: []int{64, 136, 200}[i%3], outs: [][]int{{64, 128, 64}, {192}, {64, 64}}[i%3], ranks: ranks, train: true},
			rows:  []int{70, 21, 300, 128}[i%4], popularity: popularity, narrow: true,
		})
	}
	return cases
}

func TestLinearGradOnMatrices(t *testing.T) {
	for _, dt := range matrixTypes(t) {
		b, k := newBench(t, 22), kernels(t, tuning(t, "gpu"), dt, dt)
		for i, c := range gradMatrixCases() {
			l, want, dx := b.newLinearGrad(c, dt, dt)
			for j, tile := range matrixTiles(t) {
				if brief() && (i+j)%2 == 1 {
					continue
				}
				l.Matrix = &tile
				b.dispatch(func(rec *vk.Recorder) error { return k.LinearGrad(rec, l) }, dx)
				requireClose(t, want, dx.numbers(b, weights.F32), weights.F32, fmt.Sprintf("%v %v, tile %+v", dt, c, tile))
			}
		}
	}
}

// Workgroups that share tiles go through the outputs of several parts each.
func TestGradOfSharedTilesOnMatrices(t *testing.T) {
	eachTile(t, sharedTiles(t), func(t *testing.T, dt weights.DType, n int, tile shaders.MatrixTile) {
		b, k := newBench(t, 23), kernels(t, tuning(t, "gpu"), dt, dt)
		scratch, counts := b.shared(tile)
		for i, c := range gradMatrixCases() {
			if brief() && (i+n)%3 > 0 {
				continue
			}
			for j := range c.outs {
				c.outs[j] *= 6
			}
			l, want, dx := b.newLinearGrad(c, dt, dt)
			l.Scratch, l.Counts, l.Matrix = scratch, counts, &tile
			b.dispatch(func(rec *vk.Recorder) error { return k.LinearGrad(rec, l) }, dx)
			requireClose(t, want, dx.numbers(b, weights.F32), weights.F32, c)
		}
	})
}
