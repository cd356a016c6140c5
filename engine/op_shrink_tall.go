package engine

import "loquetier/engine/vk"

// shrinkTall records Shrink in the family for many rows.
func (k *Kernels) shrinkTall(rec *vk.Recorder, s Shrink) error {
	quads, blocks := k.tallBlocks(s.MaxRank)
	p, err := k.pipeline(k.byAct("shrink_tall"), k.Tuning.Tall.Workgroup, s.Tiles.tallHeight(k), quads)
	if err != nil {
		return err
	}
	k.recordShrink(rec, s, p, blocks)
	return nil
}

// recordShrink records a dispatch with a workgroup for each tile, part and block of ranks.
func (k *Kernels) recordShrink(rec *vk.Recorder, s Shrink, p *vk.Pipeline, blocks int) {
	push := shrinkPush{
		x: s.X.Address, parts: s.Table.Address, v: s.V.Address, tiles: s.List.Address,
		k: uint32(s.In), count: uint32(len(s.Outs)), vStride: uint32(s.Stride), tileCount: uint32(s.Count), blocks: uint32(blocks),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(s.Count * len(s.Outs) * blocks),
		Reads: append([]vk.Range{s.X, s.Table, s.List}, s.Reads...), Writes: []vk.Range{s.V}, Work: k.shrinkWork(s),
	})
}

// TallRows is the most rows of the tiles of the shrinks of many rows.
func (k *Kernels) TallRows() int {
	if k.OnAdapterMatrices() {
		return shrinkMatrixRows
	}
	return int(k.Tuning.Tall.Rows)
}

// tallHeight is the tile height the kernels are made for.
func (t Tiles) tallHeight(k *Kernels) uint32 {
	if t.Rows == 0 {
		return uint32(k.TallRows())
	}
	return uint32(t.Rows)
}

// tallBlocks is how many times four ranks a workgroup of the tall shrinks
// computes, and the number of workgroups that cover the largest rank.
func (k *Kernels) tallBlocks(maxRank int) (quads uint32, blocks int) {
	each := min(int(k.Tuning.Tall.Quads), maxRank/4)
	return uint32(each), ceil(maxRank, 4*each)
}
