package engine

import "loquetier/engine/vk"

// shrinkGradTall records ShrinkGrad in the family for many rows.
func (k *Kernels) shrinkGradTall(rec *vk.Recorder, s ShrinkGrad) error {
	quads, blocks := k.tallBlocks(s.MaxRank)
	p, err := k.pipeline(k.byAct("shrink_grad_tall"), k.Tuning.Tall.Workgroup, s.Tiles.tallHeight(k), quads)
	if err != nil {
		return err
	}
	k.recordShrinkGrad(rec, s, p, blocks)
	return nil
}

// recordShrinkGrad records a dispatch with a workgroup for each tile, part and block of ranks.
func (k *Kernels) recordShrinkGrad(rec *vk.Recorder, s ShrinkGrad, p *vk.Pipeline, blocks int) {
	push := shrinkGradPush{
		dy: s.DY.Address, parts: s.Table.Address, u: s.U.Address, tiles: s.List.Address,
		count: uint32(len(s.Outs)), dyStride: uint32(s.Width(Plain)), uStride: uint32(s.Stride), tileCount: uint32(s.Count), blocks: uint32(blocks),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(s.Count * len(s.Outs) * blocks),
		Reads: append([]vk.Range{s.DY, s.Table, s.List}, s.Reads...), Writes: []vk.Range{s.U}, Work: k.shrinkGradWork(s),
	})
}
