package engine

import "loquetier/engine/vk"

// The kernel on a workgroup's matrices takes tiles of matrix2Tile rows and
// columns, and as much of the inner dimension in a turn of its loop.
const matrix2Tile = 128

// takesMatrix2 tells whether a product runs on a workgroup's matrices: where it
// consists of whole tiles, of one adapter each and without gains. Two parts in a tile
// leave no room for adapters.
func (k *Kernels) takesMatrix2(l Linear) bool {
	if !k.device.Info.CooperativeMatrix2 || k.matrixShape() == (vk.Shape{}) {
		return false
	}
	mixture := l.mixture(matrix2Tile)
	if l.Rows%matrix2Tile != 0 || l.In%matrix2Tile != 0 || l.Gains || mixture == 2 || mixture != 0 && l.Epilogue.gated() {
		return false
	}
	wide, outs := l.columns(matrix2Tile)
	for _, n := range outs {
		if n%wide != 0 {
			return false
		}
	}
	return true
}

// enoughForMatrix2 tells whether a product consists of as many tiles as the tuning
// wants; two parts in a tile want more to be worth it.
func (k *Kernels) enoughForMatrix2(l Linear) bool {
	least := k.Tuning.Matrix2Tiles
	if l.Epilogue.gated() {
		least *= 4
	}
	return least > 0 && l.tiles(matrix2Tile)*l.Rows/matrix2Tile >= least
}

// linearMatrix2 records the product on a workgroup's cooperative matrices.
func (k *Kernels) linearMatrix2(rec *vk.Recorder, l Linear) error {
	name := k.byAct("linear_matrix2")
	if l.Epilogue.gated() {
		name = k.byAct("linear_matrix2") + "-gated"
	}
	p, err := k.pipeline(name, uint32(l.Epilogue), l.mixture(matrix2Tile))
	if err != nil {
		return err
	}
	k.recordLinear(rec, l, p, grid(l.tiles(matrix2Tile)*l.Rows/matrix2Tile), 1)
	return nil
}
