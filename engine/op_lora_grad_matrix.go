package engine

import "loquetier/engine/vk"

// Columns and ranks of a subgroup in lora_grad_matrix.comp.
const (
	loraGradColumns = 32
	loraGradRanks   = 16
)

// loraGradMatrix records LoRAGrad on cooperative matrices.
func (k *Kernels) loraGradMatrix(rec *vk.Recorder, l LoRAGrad) error {
	t, shape := k.Tuning.AdapterMatrix, k.matrixShape()
	workgroup := t.Across * t.Shares * uint32(k.device.Info.SubgroupSize)
	p, err := k.pipeline(k.byAct("lora_grad_matrix"), workgroup, t.Across, t.Shares, uint32(shape.M), uint32(shape.N), uint32(shape.K))
	if err != nil {
		return err
	}
	k.recordLoRAGrad(rec, l, p, int(t.Across)*loraGradColumns, loraGradRanks)
	return nil
}
