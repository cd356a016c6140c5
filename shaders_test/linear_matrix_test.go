package shaders_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// matrixTypes are the 16-bit types of which the device has cooperative matrices.
func matrixTypes(t *testing.T) []weights.DType {
	var out []weights.DType
	none := vk.Shape{}
	if device.Info.MatrixF16 != none {
		out = append(out, weights.F16)
	}
	if device.Info.MatrixBF16 != none {
		out = append(out, weights.BF16)
	}
	if len(out) == 0 {
		t.Skip("the device has no cooperative matrices")
	}
	return out
}

// matrixTiles are shapes that suit the device's matrices: small ones on a
// software device.
func matrixTiles(t *testing.T) []shaders.MatrixTile {
	if device.Info.Type == vk.CPU {
		return []shaders.MatrixTile{
			{Rows: 32, Columns: 32, Depth: 32, SubgroupRows: 16, SubgroupColumns: 16, Shares: 1},
			{Rows: 32, Columns: 32, Depth: 32, SubgroupRows: 16, SubgroupColumns: 32, Shares: 2},
			{Rows: 16, Columns: 32, Depth: 32, SubgroupRows: 8, SubgroupColumns: 16, Shares: 1},
		}
	}
	return tuning(t, "gpu").Matrices()
}

// matrixCases cover ragged edges, one to three modules, and every popularity.
func matrixCases() []linearCase {
	cases := []linearCase{
		{shape: shape{in: 64, outs: []int{4}}, rows: 1},
		{shape: shape{in: 128, outs: []int{132}, bias: true}, rows: 70, epilogue: engine.Add},
		{shape: shape{in: 192, outs: []int{260, 68, 4}, bias: true}, rows: 133},
		{shape: shape{in: 64, outs: []int{132, 132}}, rows: 140, epilogue: engine.SiLU},
		{shape: shape{in: 64, outs: []int{132, 132}}, rows: 30, epilogue: engine.SiLUKeep},
	}
	epilogues := []engine.Epilogue{engine.Plain, engine.Add, engine.SiLU, engine.SiLUKeep}
	outs := [][]int{{140, 20, 4}, {132}, {72, 72}, {20, 20}}
	for i, popularity := range popularities {
		for e, epilogue := range epilogues {
			cases = append(cases, linearCase{
				shape: shape{in: []int{64, 128, 192}[(i+e)%3], outs: outs[e], bias: i%2 == 0, ranks: ranks, dora: i%3 != 1},
				rows:  []int{70, 21, 300, 128, 33}[(i+2*e)%5], popularity: popularity, epilogue: epilogue,
			})
		}
	}
	return cases
}

func TestLinearOnMatrices(t *testing.T) {
	for _, dt := range matrixTypes(t) {
		b, k := newBench(t, 5), kernels(t, tuning(t, "gpu"), dt, dt)
		for i, c := range matrixCases() {
			c.narrow = true
			l := b.newLinear(c, dt, dt)
			for j, tile := range matrixTiles(t) {
				if brief() && (i+j)%2 == 1 {
					continue
				}
				l.Matrix = &tile
				l.check(b, k, nil, fmt.Sprintf("%v %v, tile %+v", dt, c, tile))
			}
		}
	}
}

// sharedTiles are matrixTiles as workgroups share them.
func sharedTiles(t *testing.T) []shaders.MatrixTile {
	tiles := matrixTiles(t)
	if device.Info.Type != vk.CPU {
		return slices.DeleteFunc(tiles, func(tile shaders.MatrixTile) bool { return tile.Groups == 0 })
	}
	for i := range tiles {
		tiles[i].Groups = 264
	}
	return tiles
}

// shared gives a product's workgroups room for what they leave each other in a tile.
func (b *bench) shared(tile shaders.MatrixTile) (scratch, counts vk.Range) {
	return b.blank(4 * tile.Groups * int(tile.Rows*tile.Columns)).Range, b.holding(make([]byte, 4*tile.Groups)).Range
}

// eachTile runs a test for each type that the device has matrices of, in each tile.
func eachTile(t *testing.T, tiles []shaders.MatrixTile, f func(t *testing.T, dt weights.DType, n int, tile shaders.MatrixTile)) {
	for _, dt := range matrixTypes(t) {
		for n, tile := range tiles {
			t.Run(fmt.Sprintf("%v/%v", dt, tile), func(t *testing.T) { f(t, dt, n, tile) })
		}
	}
}

// Workgroups that share tiles compute what one would: by two to twelve of them,
// with several adapters in a tile, of which each adds some.
func TestSharedTilesOnMatrices(t *testing.T) {
	tiles := sharedTiles(t)
	eachTile(t, tiles, func(t *testing.T, dt weights.DType, n int, tile shaders.MatrixTile) {
		b, k := newBench(t, 7), kernels(t, tuning(t, "gpu"), dt, dt)
		scratch, counts := b.shared(tile)
		for i, c := range matrixCases() {
			if brief() && i%9 != 3*n {
				continue
			}
			c.narrow, c.in = true, 8*c.in
			l := b.newLinear(c, dt, dt)
			l.Scratch, l.Counts, l.Matrix = scratch, counts, &tile
			l.check(b, k, nil, c)
		}
	})
}

// An adapter with infinite numbers spoils its own rows, whoever shares a tile
// with them.
func TestMatricesKeepAdaptersApart(t *testing.T) {
	for _, dt := range matrixTypes(t) {
		b, k, shared := newBench(t, 6), kernels(t, tuning(t, "gpu"), dt, dt), sharedTiles(t)[0]
		c := linearCase{shape: shape{in: 1024, outs: []int{36}, ranks: []int{4, 8}, sick: true}, rows: 40, popularity: "uniform", narrow: true}
		l := b.newLinear(c, dt, dt)
		l.Scratch, l.Counts = b.shared(shared)
		for _, tile := range []shaders.MatrixTile{matrixTiles(t)[0], shared} {
			l.Matrix = &tile
			b.dispatch(func(rec *vk.Recorder) error { return k.Linear(rec, l.Linear) }, l.y)
			got, own := l.y.numbers(b, weights.F32), 20*36
			for row := range 20 {
				require.True(t, math.IsNaN(got[row*36]), "row %d: %v, oracle %v", row, got[row*36], l.want[row*36])
			}
			requireClose(t, l.want[own:], got[own:], weights.F32, dt, tile)
		}
	}
}
