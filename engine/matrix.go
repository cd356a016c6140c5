package engine

import (
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// matrixShape is the shape of the device's cooperative matrices of the
// activation type; zero where products on them are not to be had.
func (k *Kernels) matrixShape() vk.Shape {
	switch k.Act {
	case weights.F16:
		return k.device.Info.MatrixF16
	case weights.BF16:
		return k.device.Info.MatrixBF16
	}
	return vk.Shape{}
}

// matrixTile is the tile in which a product runs on cooperative matrices:
// forced, or the tuning's where there are rows enough to fill one and the device has the
// matrices. It takes a whole number of tiles along each of the inner dimensions, so ragged
// ones are left to the kernels that run everywhere.
func (k *Kernels) matrixTile(p Product, rows int, inner []int, forced *shaders.MatrixTile) *shaders.MatrixTile {
	tile := forced
	if tile == nil {
		if k.Tuning.MatrixRows == 0 || rows < k.Tuning.MatrixRows || k.matrixShape() == (vk.Shape{}) {
			return nil
		}
		tile = &k.Tuning.Matrix
	}
	for _, n := range inner {
		if n%int(tile.Depth) != 0 {
			return nil
		}
	}
	if p.In%8 != 0 || p.step() != 4 {
		return nil
	}
	return tile
}

// matrixConstants are the specialization constants of matrix.glsl, in order.
func (k *Kernels) matrixConstants(t shaders.MatrixTile) []uint32 {
	shape := k.matrixShape()
	workgroup := t.Subgroups() * uint32(k.device.Info.SubgroupSize)
	return []uint32{workgroup, t.Rows, t.Columns, t.Depth, t.SubgroupRows, t.SubgroupColumns, t.Shares, uint32(shape.M), uint32(shape.N), uint32(shape.K)}
}
