package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// ShrinkGrad is U = scale * dY . B for the rows of the tiles: the gradient of
// what Shrink left, scaled.
type ShrinkGrad struct {
	Product
	Tiles
	DY    vk.Range   // [Rows, Width(Plain) rounded up to a multiple of 4] in the activation type
	U     vk.Range   // [Rows, parts, Stride] float32
	Reads []vk.Range // the slot table and the adapters' memory

	Rows    int
	Stride  int // a multiple of 4, at least MaxRank
	MaxRank int // largest padded rank among the adapters
}

type shrinkGradPush struct {
	dy, parts, u, tiles                         uint64
	count, dyStride, uStride, tileCount, blocks uint32
	_                                           uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(shrinkGradPush{})

// ShrinkGrad records the op.
func (k *Kernels) ShrinkGrad(rec *vk.Recorder, s ShrinkGrad) error {
	const op = "shrink_grad"
	width, t := s.Width(Plain), k.Tuning
	if err := firstError(
		quads(op, s.Stride, s.MaxRank), positive(op, s.Rows, s.Count, s.Stride-s.MaxRank+1),
		require(op, field{"Table", s.Table, len(s.Outs) * partBytes}, field{"List", s.List, 12 * s.Count},
			field{"DY", s.DY, s.Rows * quadded(width) * k.Act.Size()}, field{"U", s.U, 4 * s.Rows * len(s.Outs) * s.Stride})); err != nil {
		return err
	}
	if s.Tall && k.adaptersOnMatrices(s.Product) {
		return k.shrinkGradMatrix(rec, s)
	}
	if s.Tall && s.step() == 4 {
		return k.shrinkGradTall(rec, s)
	}
	quadsEach, apart := uint32(1), int(t.ShrinkWorkgroup)
	if t.ShrinkSplitK {
		quadsEach, apart = t.ShrinkGradQuads, 1
	}
	p, err := k.pipeline(k.byAct("shrink_grad"), t.ShrinkWorkgroup, s.Tiles.height(t), quadsEach, bit(t.ShrinkSplitK), s.step())
	if err != nil {
		return err
	}
	blocks := ceil(s.MaxRank, 4*int(quadsEach)*apart)
	push := shrinkGradPush{
		dy: s.DY.Address, parts: s.Table.Address, u: s.U.Address, tiles: s.List.Address,
		count: uint32(len(s.Outs)), dyStride: uint32(quadded(width)), uStride: uint32(s.Stride), tileCount: uint32(s.Count), blocks: uint32(blocks),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(s.Count * len(s.Outs) * blocks),
		Reads: append([]vk.Range{s.DY, s.Table, s.List}, s.Reads...), Writes: []vk.Range{s.U},
		Work: k.shrinkGradWork(s),
	})
	return nil
}

func (k *Kernels) shrinkGradWork(s ShrinkGrad) vk.Work {
	width := float64(s.Width(Plain))
	return vk.Work{Bytes: float64(s.Rows*k.Act.Size()) * width, Flops: 2 * float64(s.Rows*s.MaxRank) * width}
}
