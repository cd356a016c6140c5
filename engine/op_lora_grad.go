package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// LoRAGrad adds the gradients of the adapters' matrices, dA += U^T . X and
// dB += dY^T . V, to where the slot table says, for all segments.
type LoRAGrad struct {
	Product
	Segments vk.Range   // [Count] of (first row, rows, slot) int32: all rows of a slot, each slot once
	X        vk.Range   // [Rows, In] in the activation type
	DY       vk.Range   // [Rows, Width(Plain) rounded up to a multiple of 4] in the activation type
	U, V     vk.Range   // [Rows, parts, Stride] float32: what ShrinkGrad and Shrink left
	Reads    []vk.Range // the slot table
	Writes   []vk.Range // the gradients, which are added to

	Count, Rows int
	Stride      int // a multiple of 4, at least MaxRank
	MaxRank     int // largest padded rank among the adapters
}

type loraGradPush struct {
	x, dy, parts, u, v, segments uint64
	k, count, dyStride, stride   uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(loraGradPush{})

// LoRAGrad records the op.
func (k *Kernels) LoRAGrad(rec *vk.Recorder, l LoRAGrad) error {
	const op = "lora_grad"
	width, parts := l.Width(Plain), len(l.Outs)
	if err := firstError(
		quads(op, l.In, l.Stride, l.MaxRank), positive(op, l.Rows, l.Count, l.Stride-l.MaxRank+1),
		require(op, field{"Table", l.Table, parts * partBytes}, field{"Segments", l.Segments, 12 * l.Count},
			field{"X", l.X, l.Rows * l.In * k.Act.Size()}, field{"DY", l.DY, l.Rows * quadded(width) * k.Act.Size()},
			field{"U", l.U, 4 * l.Rows * parts * l.Stride}, field{"V", l.V, 4 * l.Rows * parts * l.Stride})); err != nil {
		return err
	}
	if k.adaptersOnMatrices(l.Product) {
		return k.loraGradMatrix(rec, l)
	}
	t := k.Tuning.LoRAGrad
	each := min(int(t.Quads), ceil(l.MaxRank, 4))
	p, err := k.pipeline(k.byAct("lora_grad"), t.Workgroup, uint32(each), bit(l.step() == 4), t.Shares, t.Ahead)
	if err != nil {
		return err
	}
	k.recordLoRAGrad(rec, l, p, int(t.Workgroup/t.Shares)*4, 4*each)
	return nil
}

// recordLoRAGrad records the dispatch, with workgroups of so many columns and ranks.
func (k *Kernels) recordLoRAGrad(rec *vk.Recorder, l LoRAGrad, p *vk.Pipeline, columns, ranks int) {
	width, parts := l.Width(Plain), len(l.Outs)
	push := loraGradPush{
		x: l.X.Address, dy: l.DY.Address, parts: l.Table.Address, u: l.U.Address, v: l.V.Address, segments: l.Segments.Address,
		k: uint32(l.In), count: uint32(parts), dyStride: uint32(quadded(width)), stride: uint32(l.Stride),
	}
	groups := parts * ceil(l.In, columns)
	for _, out := range l.Outs {
		groups += ceil(out, columns)
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{uint32(groups), uint32(ceil(l.MaxRank, ranks)), uint32(l.Count)},
		Reads:  append(append([]vk.Range{l.X, l.DY, l.Table, l.U, l.V, l.Segments}, l.Reads...), l.Writes...),
		Writes: l.Writes,
		Work: vk.Work{
			Bytes: float64(l.Rows * (l.In + width) * k.Act.Size()),
			Flops: 2 * float64(l.Rows*l.MaxRank) * float64(parts*l.In+width),
		},
	})
}
