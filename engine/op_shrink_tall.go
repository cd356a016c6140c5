package engine

import "loquetier/engine/vk"

// shrinkTall records Shrink in the family for many rows.
func (k *Kernels) shrinkTall(rec *vk.Recorder, s Shrink) error {
	quads, blocks := k.tallBlocks(s.MaxRank)
	p, err := k.pipeline(k.names.shrinkTall, k.Tuning.Tall.Workgroup, k.Tuning.Tall.Rows, quads)
	if err != nil {
		return err
	}
	push := shrinkPush{
		x: s.X.Address, parts: s.Table.Address, v: s.V.Address, tiles: s.List.Address,
		k: uint32(s.In), count: uint32(len(s.Outs)), vStride: uint32(s.Stride), tileCount: uint32(s.Count), blocks: uint32(blocks),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(s.Count * len(s.Outs) * blocks),
		Reads: append([]vk.Range{s.X, s.Table, s.List}, s.Reads...), Writes: []vk.Range{s.V}, Work: k.shrinkWork(s),
	})
	return nil
}

// tallBlocks is how many times four ranks a workgroup of the tall shrinks
// computes, and the number of workgroups that cover the largest rank.
func (k *Kernels) tallBlocks(maxRank int) (quads uint32, blocks int) {
	each := min(int(k.Tuning.Tall.Quads), maxRank/4)
	return uint32(each), ceil(maxRank, 4*each)
}
