package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/shaders"
)

// matrix2Cases are products of tiles with one adapter or none in each; of some rows are left over.
func matrix2Cases() []linearCase {
	cases := []linearCase{
		{shape: shape{in: 128, outs: []int{128}, bias: true}, rows: 128},
		{shape: shape{in: 256, outs: []int{256, 128, 384}, bias: true}, rows: 384},
		{shape: shape{in: 128, outs: []int{128}}, rows: 333, epilogue: engine.Add},
		{shape: shape{in: 128, outs: []int{192, 192}, bias: true}, rows: 256, epilogue: engine.SiLU},
		{shape: shape{in: 256, outs: []int{256, 256}}, rows: 128, epilogue: engine.SiLUKeep},
	}
	for i, epilogue := range []engine.Epilogue{engine.Plain, engine.Add} {
		cases = append(cases, linearCase{
			shape: shape{in: 256, outs: [][]int{{128, 256, 128}, {128}}[i], ranks: []int{3, 8, 40}[:2+i], bias: i == 0},
			rows:  256, popularity: "identical", epilogue: epilogue, narrow: true,
		})
	}
	for _, adapters := range []int{1, 3} { // whose ranks take one round, and several
		cases = append(cases, linearCase{
			shape: shape{in: 256, outs: []int{128, 128}, ranks: []int{3, 8, 40}[:adapters]},
			rows:  255 + adapters, popularity: "identical", epilogue: engine.SiLUKeep, narrow: true,
		})
	}
	return cases
}

// onMatrices2 is a tuning that has every product that can on matrices of workgroups.
func onMatrices2(t *testing.T) shaders.Tuning {
	if !device.Info.CooperativeMatrix2 {
		t.Skip("the device has no cooperative matrices of workgroups")
	}
	row := tuning(t, "gpu")
	row.Matrix2Tiles = 1
	return row
}

func TestLinearOnMatrices2(t *testing.T) {
	row := onMatrices2(t)
	for _, dt := range matrixTypes(t) {
		b, k := newBench(t, 7), kernels(t, row, dt, dt)
		for _, c := range matrix2Cases() {
			l := b.newLinear(c, dt, dt)
			l.Run = 256
			l.check(b, k, nil, fmt.Sprintf("%v %v", dt, c))
		}
	}
}
