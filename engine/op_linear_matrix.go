package engine

import (
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// linearMatrix records the product on cooperative matrices.
func (k *Kernels) linearMatrix(rec *vk.Recorder, l Linear, t shaders.MatrixTile) error {
	p, err := k.pipeline(k.names.linearMatrix, append(k.matrixConstants(t), uint32(l.Epilogue), l.mixture(t.Rows))...)
	if err != nil {
		return err
	}
	wide, outs := int(t.Columns), l.Outs
	if l.Epilogue.gated() {
		wide, outs = wide/2, outs[:1]
	}
	tiles := 0
	for _, n := range outs {
		tiles += ceil(n, wide)
	}
	k.recordLinear(rec, l, p, grid(tiles*ceil(l.Rows, int(t.Rows))))
	return nil
}
