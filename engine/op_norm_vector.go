package engine

import "loquetier/engine/vk"

// normVectorShape is normShape in the family for few rows on a GPU.
func (k *Kernels) normVectorShape(n Norm) (p *vk.Pipeline, blocks, groups int, err error) {
	t, height := k.Tuning.ShrinkVector, uint32(1)
	if n.Shrink != nil && n.Shrink.Count > 0 {
		height = n.Shrink.height(k.Tuning)
		blocks, groups = k.vectorBlocks(*n.Shrink)
	}
	p, err = k.pipeline(k.byAct("norm_vector"), t.Workgroup, height, t.Ranks, t.Depth)
	return p, blocks, n.Rows + groups, err
}
