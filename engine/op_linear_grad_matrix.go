package engine

import (
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// linearGradMatrix records the product's gradient on cooperative matrices.
func (k *Kernels) linearGradMatrix(rec *vk.Recorder, l LinearGrad, t shaders.MatrixTile) error {
	p, err := k.pipeline(k.byAct("linear_grad_matrix"), append(k.matrixConstants(t), l.mixture(t.Rows))...)
	if err != nil {
		return err
	}
	k.recordLinearGrad(rec, l, p, grid(l.matrixTiles(t)))
	return nil
}

// matrixTiles is the number of tiles of a shape that the gradient consists of.
func (l LinearGrad) matrixTiles(t shaders.MatrixTile) int {
	return ceil(l.In, int(t.Columns)) * ceil(l.Rows, int(t.Rows))
}
