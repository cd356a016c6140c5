package engine

import (
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// linearGradMatrix records the product's gradient on cooperative matrices.
func (k *Kernels) linearGradMatrix(rec *vk.Recorder, l LinearGrad, t shaders.MatrixTile) error {
	splits := l.matrixSplits(t)
	p, err := k.pipeline(k.byAct("linear_grad_matrix"), append(k.matrixConstants(t), l.mixture(t.Rows), bit(splits > 1))...)
	if err != nil {
		return err
	}
	groups, err := sharedGrid("linear_grad_matrix", t, l.matrixTiles(t), splits, l.Scratch, l.Counts)
	if err != nil {
		return err
	}
	k.recordLinearGrad(rec, l, p, groups, splits)
	return nil
}

// matrixTiles is the number of tiles of a shape that the gradient consists of.
func (l LinearGrad) matrixTiles(t shaders.MatrixTile) int {
	return ceil(l.In, int(t.Columns)) * ceil(l.Rows, int(t.Rows))
}

// matrixSplits is how many workgroups share each of them.
func (l LinearGrad) matrixSplits(t shaders.MatrixTile) int {
	if l.Scratch.Size == 0 || t.Groups == 0 {
		return 1
	}
	return t.Splits(l.matrixTiles(t), l.Width(Plain))
}
