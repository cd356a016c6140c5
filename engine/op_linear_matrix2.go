package engine

import (
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// The kernels on a workgroup's matrices take tiles of matrix2Tile rows and
// columns, and as much of the inner dimension in a turn of their loop.
const matrix2Tile = 128

// takesMatrix2 tells whether a product runs on a workgroup's matrices: where it
// consists of whole tiles, but for rows left over.
func (k *Kernels) takesMatrix2(l Linear) bool {
	wide, outs := l.columns(matrix2Tile)
	for _, n := range outs {
		if n%wide != 0 {
			return false
		}
	}
	return k.hasMatrix2(l.LoRA) && l.Rows >= matrix2Tile && l.In%matrix2Tile == 0
}

// hasMatrix2 tells whether the device has a workgroup's matrices, and their kernels take
// the adapters: one in each tile, and without gains. Ranks are gone through without a loop,
// which would halve the speed of some, so there may not be too many of them.
func (k *Kernels) hasMatrix2(l LoRA) bool {
	const mostRounds = 4
	return k.device.Info.CooperativeMatrix2 && k.matrixShape() != (vk.Shape{}) && !l.Gains && l.mixture(matrix2Tile) < 2 && l.rounds() <= mostRounds
}

// rounds is how many times the kernels on a workgroup's matrices take ranks of
// the adapters; 0 where there are none.
func (l LoRA) rounds() uint32 {
	const each = 32 // RK in matrix2.glsl
	if l.Slots.Size == 0 {
		return 0
	}
	return uint32(ceil(l.Stride, each))
}

// enoughForMatrix2 tells whether a product has as many whole tiles as the tuning
// wants; two parts in a tile want more to be worth it.
func (k *Kernels) enoughForMatrix2(l Linear) bool {
	least := k.Tuning.Matrix2Tiles
	if l.Epilogue.gated() {
		least *= 4
	}
	return least > 0 && l.tiles(matrix2Tile)*(l.Rows/matrix2Tile) >= least
}

// linearMatrix2 records the product on a workgroup's cooperative matrices: of the
// rows that fill tiles. Those left over go beside them, by a kernel that takes any number.
func (k *Kernels) linearMatrix2(rec *vk.Recorder, l Linear) error {
	if whole := l.Rows - l.Rows%matrix2Tile; whole < l.Rows {
		return firstError(k.linearMatrix2(rec, k.linearRows(l, 0, whole)), k.Linear(rec, k.linearRows(l, whole, l.Rows-whole)))
	}
	name := k.byAct("linear_matrix2")
	if l.Epilogue.gated() {
		name = k.byAct("linear_matrix2") + "-gated"
	}
	p, err := k.pipeline(name, uint32(l.Epilogue), l.rounds())
	if err != nil {
		return err
	}
	k.recordLinear(rec, l, p, grid(l.tiles(matrix2Tile)*l.Rows/matrix2Tile), 1)
	return nil
}

// linearRows is a product for rows of it, from a multiple of a tile on.
func (k *Kernels) linearRows(l Linear, from, rows int) Linear {
	width := 4 * l.Width(l.Epilogue)
	if l.Epilogue.gated() {
		width = k.Act.Size() * l.Outs[0]
	}
	l.X, l.Y = rowsOf(l.X, from, rows, k.Act.Size()*l.In), rowsOf(l.Y, from, rows, width)
	l.Keep = rowsOf(l.Keep, from, rows, k.Act.Size()*2*l.Outs[0])
	l.LoRA, l.Rows, l.Way = l.LoRA.rows(from, rows, len(l.Outs)), rows, shaders.Way{}
	return l
}

// rows are the adapters of rows of a product with a number of parts.
func (l LoRA) rows(from, rows, parts int) LoRA {
	l.V, l.Slots = rowsOf(l.V, from, rows, 4*parts*l.Stride), rowsOf(l.Slots, from, rows, 4)
	return l
}

// rowsOf are rows of an array with so many bytes in each; of null it is null.
func rowsOf(r vk.Range, from, rows, bytes int) vk.Range {
	if r.Size == 0 {
		return r
	}
	return vk.Range{Address: r.Address + uint64(from*bytes), Size: uint64(rows * bytes)}
}
