package engine

import (
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// linearMatrix records the product on cooperative matrices.
func (k *Kernels) linearMatrix(rec *vk.Recorder, l Linear, t shaders.MatrixTile) error {
	p, err := k.pipeline(k.byAct("linear_matrix"), append(k.matrixConstants(t), uint32(l.Epilogue), l.mixture(t.Rows))...)
	if err != nil {
		return err
	}
	k.recordLinear(rec, l, p, grid(l.tiles(int(t.Columns))*ceil(l.Rows, int(t.Rows))), 1)
	return nil
}
