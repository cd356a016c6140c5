package engine

import (
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// takesGradMatrix2 tells whether a product's gradient runs on a workgroup's
// matrices: where it consists of whole tiles, but for rows left over.
func (k *Kernels) takesGradMatrix2(l LinearGrad) bool {
	for _, n := range l.Outs {
		if n%matrix2Tile != 0 {
			return false
		}
	}
	return k.hasMatrix2(l.LoRA) && l.Rows >= matrix2Tile && l.In%matrix2Tile == 0
}

// enoughForGradMatrix2 tells whether a gradient has as many whole tiles as the tuning wants.
func (k *Kernels) enoughForGradMatrix2(l LinearGrad) bool {
	least := k.Tuning.Matrix2Tiles
	return least > 0 && l.matrix2Tiles() >= least
}

// matrix2Tiles is the number of whole tiles that the gradient has.
func (l LinearGrad) matrix2Tiles() int { return l.In / matrix2Tile * (l.Rows / matrix2Tile) }

// linearGradMatrix2 records the gradient on a workgroup's cooperative matrices:
// of the rows that fill tiles, and beside them of those left over.
func (k *Kernels) linearGradMatrix2(rec *vk.Recorder, l LinearGrad) error {
	if whole := l.Rows - l.Rows%matrix2Tile; whole < l.Rows {
		return firstError(k.linearGradMatrix2(rec, k.linearGradRows(l, 0, whole)), k.LinearGrad(rec, k.linearGradRows(l, whole, l.Rows-whole)))
	}
	p, err := k.pipeline(k.byAct("linear_grad_matrix2"), uint32(len(l.Outs)), l.rounds())
	if err != nil {
		return err
	}
	k.recordLinearGrad(rec, l, p, grid(l.matrix2Tiles()), 1)
	return nil
}

// linearGradRows is a gradient for rows of it, from a multiple of a tile on.
func (k *Kernels) linearGradRows(l LinearGrad, from, rows int) LinearGrad {
	l.DY = rowsOf(l.DY, from, rows, k.Act.Size()*quadded(l.Width(Plain)))
	l.DX = rowsOf(l.DX, from, rows, 4*l.In)
	l.LoRA, l.Rows, l.Way = l.LoRA.rows(from, rows, len(l.Outs)), rows, shaders.Way{}
	return l
}
