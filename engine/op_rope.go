package engine

import (
	"fmt"
	"unsafe"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// Heads is the shape of attention.
type Heads struct {
	Query, Key int // numbers of heads; Query is a multiple of Key
	Size       int // of a head, a multiple of 8
}

func (h Heads) check(op string) error {
	if err := positive(op, h.Query, h.Key, h.Size); err != nil {
		return err
	}
	if h.Size%8 != 0 || h.Query%h.Key != 0 {
		return fmt.Errorf("BUG: %s: heads %+v", op, h)
	}
	return nil
}

// Cache is one layer's part of the paged KV cache, in the activation type.
type Cache struct {
	Keys, Values vk.Range // [Blocks, Heads.Key, BlockSize, Heads.Size]
	Blocks       int
}

func (c Cache) bytes(h Heads, element int) int {
	return c.Blocks * h.Key * batch.BlockSize * h.Size * element
}

// Rope rotates q and k and appends k and v to the cache.
type Rope struct {
	Heads
	Cache
	QKV       vk.Range // [Rows, (Query + 2 Key) * Size] float32
	Q         vk.Range // [Rows, Query * Size] float32: rotated q
	Turns     vk.Range // [Context, Size] float32: cos in the first half, sin in the second
	Positions vk.Range // [Rows] int32 below Context: the caller checks
	Cells     vk.Range // [Rows] int32 below Blocks * BlockSize: the caller checks
	QNorm     vk.Range // [Size] float32 or null
	KNorm     vk.Range
	Eps       float32

	Rows, Context int
}

type ropePush struct {
	qkv, q, turns, positions, cells, keys, values, qNorm, kNorm uint64
	rows, heads, kvHeads, dim                                   uint32
	eps                                                         float32
	_                                                           uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(ropePush{})

// Rope records the op.
func (k *Kernels) Rope(rec *vk.Recorder, r Rope) error {
	if err := k.checkRope(r); err != nil {
		return err
	}
	wg := k.Tuning.MapWorkgroup
	p, err := k.pipeline(k.byAct("rope"), wg)
	if err != nil {
		return err
	}
	push := ropePush{
		qkv: r.QKV.Address, q: r.Q.Address, turns: r.Turns.Address, positions: r.Positions.Address, cells: r.Cells.Address,
		keys: r.Keys.Address, values: r.Values.Address, qNorm: r.QNorm.Address, kNorm: r.KNorm.Address,
		rows: uint32(r.Rows), heads: uint32(r.Query), kvHeads: uint32(r.Key), dim: uint32(r.Size), eps: r.Eps,
	}
	all := r.Query + 2*r.Key
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(ceil(all*r.Size/8, int(wg))), uint32(r.Rows), 1},
		Reads:  present(r.QKV, r.Turns, r.Positions, r.Cells, r.QNorm, r.KNorm),
		Writes: []vk.Range{r.Q, r.Keys, r.Values},
		Work:   vk.Work{Bytes: float64(8 * r.Rows * all * r.Size)},
	})
	return nil
}

func (k *Kernels) checkRope(r Rope) error {
	cache := r.Cache.bytes(r.Heads, k.Act.Size())
	fields := []field{
		{"QKV", r.QKV, 4 * r.Rows * (r.Query + 2*r.Key) * r.Size},
		{"Q", r.Q, 4 * r.Rows * r.Query * r.Size},
		{"Turns", r.Turns, 4 * r.Context * r.Size},
		{"Positions", r.Positions, 4 * r.Rows},
		{"Cells", r.Cells, 4 * r.Rows},
		{"Keys", r.Keys, cache}, {"Values", r.Values, cache},
	}
	if r.QNorm.Size > 0 {
		fields = append(fields, field{"QNorm", r.QNorm, 4 * r.Size}, field{"KNorm", r.KNorm, 4 * r.Size})
	}
	return firstError(r.Heads.check("rope"), positive("rope", r.Rows, r.Context, r.Blocks), require("rope", fields...))
}
