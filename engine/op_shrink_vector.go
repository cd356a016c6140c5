package engine

import "loquetier/engine/vk"

// sumsSuit tells whether shrink_vector and norm_vector are used, and fit rows of
// so many numbers: whole 16-byte pieces.
func (k *Kernels) sumsSuit(width int) bool {
	return k.Tuning.ShrinkVector.Workgroup > 0 && width*k.Act.Size()%16 == 0 && k.device.Info.SubgroupArithmetic
}

// shrinkVector records Shrink in the family for few rows on a GPU.
func (k *Kernels) shrinkVector(rec *vk.Recorder, s Shrink) error {
	t := k.Tuning.ShrinkVector
	p, err := k.pipeline(k.byAct("shrink_vector"), t.Workgroup, s.height(k.Tuning), t.Ranks, t.Depth)
	if err != nil {
		return err
	}
	blocks, groups := k.vectorBlocks(s)
	k.dispatchShrink(rec, s, p, blocks, groups)
	return nil
}

// vectorBlocks is the number of workgroups that cover the largest ranks of all
// parts together, and of those for all tiles.
func (k *Kernels) vectorBlocks(s Shrink) (blocks, groups int) {
	blocks = ceil(len(s.Outs)*s.MaxRank, int(k.Tuning.ShrinkVector.Ranks))
	return blocks, s.Count * blocks
}
