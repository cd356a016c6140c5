package engine

import "loquetier/engine/vk"

// Rows and ranks of a workgroup in shrink_matrix.glsl.
const (
	shrinkMatrixRows  = 16
	shrinkMatrixRanks = 16
)

// OnAdapterMatrices tells whether the adapters' kernels of many rows run on
// cooperative matrices where a product's sizes allow it.
func (k *Kernels) OnAdapterMatrices() bool {
	shape := k.matrixShape()
	return k.Tuning.AdapterMatrix.Subgroups > 0 && shape.M > 0 && shrinkMatrixRows%shape.M == 0 && shrinkMatrixRanks%shape.N == 0
}

// adaptersOnMatrices tells whether those of a product can: they load eight
// numbers at a time.
func (k *Kernels) adaptersOnMatrices(p Product) bool {
	for _, out := range p.Outs {
		if out%8 != 0 {
			return false
		}
	}
	return k.OnAdapterMatrices() && p.In%8 == 0
}

// shrinkMatrix records Shrink on cooperative matrices.
func (k *Kernels) shrinkMatrix(rec *vk.Recorder, s Shrink) error {
	p, err := k.shrinkMatrixPipeline(k.byAct("shrink_matrix"))
	if err != nil {
		return err
	}
	k.recordShrink(rec, s, p, ceil(s.MaxRank, shrinkMatrixRanks))
	return nil
}

// shrinkMatrixPipeline is a kernel with the constants of shrink_matrix.glsl.
func (k *Kernels) shrinkMatrixPipeline(name string) (*vk.Pipeline, error) {
	t, shape := k.Tuning.AdapterMatrix, k.matrixShape()
	workgroup := t.Subgroups * uint32(k.device.Info.SubgroupSize)
	return k.pipeline(name, workgroup, t.Subgroups, t.Depth, uint32(shape.M), uint32(shape.N), uint32(shape.K))
}
