package engine

import "loquetier/engine/vk"

// shrinkGradMatrix records ShrinkGrad on cooperative matrices.
func (k *Kernels) shrinkGradMatrix(rec *vk.Recorder, s ShrinkGrad) error {
	p, err := k.shrinkMatrixPipeline(k.byAct("shrink_grad_matrix"))
	if err != nil {
		return err
	}
	k.recordShrinkGrad(rec, s, p, ceil(s.MaxRank, shrinkMatrixRanks))
	return nil
}
