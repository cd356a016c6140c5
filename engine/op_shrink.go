package engine

import (
	"unsafe"

	"loquetier/engine/vk"
	"loquetier/shaders"
)

// Tiles is the step's list of shrink tiles: runs of rows of one adapter.
// Rows of the base are in none.
type Tiles struct {
	List  vk.Range // [Count] of (first row, rows, slot) int32
	Count int
	Rows  int  // the most rows of a tile; 0: the tuning's ShrinkRows
	Tall  bool // they are cut for the shrinks of many rows: at most TallRows of the kernels
}

// Shrink is V = scale * X . A^T for the rows of the tiles.
type Shrink struct {
	Product
	Tiles
	X       vk.Range   // [Rows, In] in the activation type
	V       vk.Range   // [Rows, parts, Stride] float32
	Reads   []vk.Range // the slot table and the adapters' memory
	Rows    int
	Stride  int // a multiple of 4, at least MaxRank
	MaxRank int // largest padded rank among the adapters
}

type shrinkPush struct {
	x, parts, v, tiles                      uint64
	k, count, vStride, tileCount, blocks, _ uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(shrinkPush{})

// Shrink records the op.
func (k *Kernels) Shrink(rec *vk.Recorder, s Shrink) error {
	if err := firstError(s.check("shrink"), require("shrink", field{"X", s.X, s.Rows * s.In * k.Act.Size()})); err != nil {
		return err
	}
	if s.Tall && k.adaptersOnMatrices(s.Product) {
		return k.shrinkMatrix(rec, s)
	}
	if s.Tall {
		return k.shrinkTall(rec, s)
	}
	if k.sumsSuit(s.In) {
		return k.shrinkVector(rec, s)
	}
	t := k.Tuning
	ranks, blocks := k.rankShape(s)
	p, err := k.pipeline(k.byAct("shrink"), t.ShrinkWorkgroup, s.Tiles.height(t), ranks, bit(t.ShrinkSplitK))
	if err != nil {
		return err
	}
	k.dispatchShrink(rec, s, p, blocks, s.Count*blocks)
	return nil
}

// dispatchShrink records a shrink in so many workgroups, whichever family it is of.
func (k *Kernels) dispatchShrink(rec *vk.Recorder, s Shrink, p *vk.Pipeline, blocks, groups int) {
	push := shrinkPush{
		x: s.X.Address, parts: s.Table.Address, v: s.V.Address, tiles: s.List.Address,
		k: uint32(s.In), count: uint32(len(s.Outs)), vStride: uint32(s.Stride), tileCount: uint32(s.Count), blocks: uint32(blocks),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(groups),
		Reads: append([]vk.Range{s.X, s.Table, s.List}, s.Reads...), Writes: []vk.Range{s.V},
		Work: k.shrinkWork(s),
	})
}

func (k *Kernels) shrinkWork(s Shrink) vk.Work {
	return vk.Work{Bytes: float64(s.Rows * s.In * k.Act.Size()), Flops: 2 * float64(s.Rows*len(s.Outs)*s.MaxRank) * float64(s.In)}
}

// height is the tile height the kernel is made for.
func (t Tiles) height(tuning shaders.Tuning) uint32 {
	if t.Rows == 0 {
		return tuning.ShrinkRows
	}
	return uint32(t.Rows)
}

// rankShape is how many ranks a lane (with lanes over K a workgroup) computes,
// and the number of workgroups that cover the largest ranks of all parts together.
// Lanes over ranks take even shares: a software device loads for ranks that are not
// there as for those that are.
func (k *Kernels) rankShape(s Shrink) (ranks uint32, blocks int) {
	t, all := k.Tuning, len(s.Outs)*s.MaxRank
	if t.ShrinkSplitK {
		return t.ShrinkRanks, ceil(all, int(t.ShrinkRanks))
	}
	each := ceil(all, int(t.ShrinkWorkgroup))
	blocks = ceil(each, int(t.ShrinkRanks))
	return uint32(ceil(each, blocks)), blocks
}

func (s Shrink) check(op string) error {
	return firstError(
		quads(op, s.In, s.Stride, s.MaxRank), positive(op, s.Rows, s.Count, s.Stride-s.MaxRank+1),
		require(op,
			field{"Table", s.Table, len(s.Outs) * partBytes},
			field{"List", s.List, 12 * s.Count},
			field{"V", s.V, 4 * s.Rows * len(s.Outs) * s.Stride}))
}

// firstError is the first that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
