package engine

import (
	"fmt"
	"unsafe"

	"loquetier/engine/vk"
)

// Norm is RMSNorm, Y = X * G / sqrt(mean(X^2) + Eps), with the SMLM shrink of
// the normed rows in the same dispatch where Shrink has tiles.
type Norm struct {
	X    vk.Range // [., Width] float32
	G    vk.Range // [Width] float32
	Y    vk.Range // [Rows, Width] in the activation type
	List vk.Range // [Rows] int32: the row of X each row of Y is, checked by the caller; null: its own
	Eps  float32

	Copy vk.Range // [., Width] float32: X of the first rows, as many as it has room for; null: of none

	Rows, Width int
	Shrink      *Shrink // its X is ignored: it shrinks Y; nil or no tiles: norm alone
}

type normPush struct {
	x, g, y, list, parts, v, tiles, copy uint64
	rows, k                              uint32
	eps                                  float32
	count, vStride, tileCount, blocks    uint32
	copies                               uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(normPush{})

// Norm records the op.
func (k *Kernels) Norm(rec *vk.Recorder, n Norm) error {
	if err := k.checkNorm(n); err != nil {
		return err
	}
	p, blocks, groups, err := k.normShape(n)
	if err != nil {
		return err
	}
	push := normPush{
		x: n.X.Address, g: n.G.Address, y: n.Y.Address, list: n.List.Address, copy: n.Copy.Address, copies: uint32(int(n.Copy.Size) / (4 * n.Width)),
		rows: uint32(n.Rows), k: uint32(n.Width), eps: n.Eps,
	}
	reads, writes := present(n.X, n.G, n.List), present(n.Y, n.Copy)
	if s := n.Shrink; s != nil && s.Count > 0 {
		push.parts, push.v, push.tiles = s.Table.Address, s.V.Address, s.Tiles.List.Address
		push.count, push.vStride, push.tileCount, push.blocks = uint32(len(s.Outs)), uint32(s.Stride), uint32(s.Count), uint32(blocks)
		reads = append(append(reads, s.Table, s.Tiles.List), s.Reads...)
		writes = append(writes, s.V)
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(groups), Reads: reads, Writes: writes,
		Work: vk.Work{Bytes: float64(n.Rows*n.Width*(4+k.Act.Size())) + float64(n.Copy.Size)},
	})
	return nil
}

// normShape is the pipeline, the blocks of ranks of a shrink's tile, and the
// number of workgroups.
func (k *Kernels) normShape(n Norm) (p *vk.Pipeline, blocks, groups int, err error) {
	if k.sumsSuit(n.Width) {
		return k.normVectorShape(n)
	}
	t := k.Tuning
	height, ranks := t.ShrinkRows, t.ShrinkRanks
	if n.Shrink != nil && n.Shrink.Count > 0 {
		height = n.Shrink.height(t)
		ranks, blocks = k.rankShape(*n.Shrink)
		groups = n.Shrink.Count * blocks
	}
	p, err = k.pipeline(k.byAct("norm"), t.ShrinkWorkgroup, height, ranks, bit(t.ShrinkSplitK))
	return p, blocks, n.Rows + groups, err
}

func (k *Kernels) checkNorm(n Norm) error {
	inputs := 4 * n.Width // with a list the caller vouches for its rows
	if n.List.Size == 0 {
		inputs *= n.Rows
	}
	fields := []field{
		{"X", n.X, inputs},
		{"G", n.G, 4 * n.Width},
		{"Y", n.Y, n.Rows * n.Width * k.Act.Size()},
	}
	if n.List.Size > 0 {
		fields = append(fields, field{"List", n.List, 4 * n.Rows})
	}
	if n.Copy.Size > 0 && (n.List.Size > 0 || n.Copy.Size > uint64(inputs)) {
		return fmt.Errorf("BUG: norm: Copy has %d bytes, X %d, a list %d", n.Copy.Size, inputs, n.List.Size)
	}
	if err := firstError(quads("norm", n.Width), positive("norm", n.Rows), require("norm", fields...)); err != nil {
		return err
	}
	if n.Shrink == nil || n.Shrink.Count == 0 {
		return nil
	}
	return n.Shrink.check("norm")
}
