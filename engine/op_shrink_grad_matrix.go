package engine

import "loquetier/engine/vk"

// shrinkGradMatrix records ShrinkGrad on cooperative matrices.
func (k *Kernels) shrinkGradMatrix(rec *vk.Recorder, s ShrinkGrad) error {
	p, err := k.shrinkMatrixPipeline(k.names.shrinkGradMatrix)
	if err != nil {
		return err
	}
	k.recordShrinkGrad(rec, s, p, ceil(s.MaxRank, shrinkMatrixRanks))
	return nil
}
