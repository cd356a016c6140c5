package engine

import (
	"fmt"
	"unsafe"

	"loquetier/engine/vk"
)

// RopeGrad is the backward of Rope: from the gradients of rotated q, rotated k
// and v to the gradient of the q, k, v product.
type RopeGrad struct {
	Heads
	QKV       vk.Range // [Rows, (Query + 2 Key) * Size] float32: the product, as Rope took it; null where there are no norms
	D         vk.Range // [Rows, (Query + 2 Shares Key) * Size] float32
	DQKV      vk.Range // [Rows, (Query + 2 Key) * Size] in the activation type: the result; apart from D
	Turns     vk.Range // [Context, Size] float32: cos in the first half, sin in the second
	Positions vk.Range // [Rows] int32 below Context: the caller checks
	QNorm     vk.Range // [Size] float32 or null
	KNorm     vk.Range
	Eps       float32

	Rows, Context int
	Shares        int // partial sums of the gradients of k and of v in D; 0: 1
}

type ropeGradPush struct {
	qkv, d, dqkv, turns, positions, qNorm, kNorm uint64
	heads, kvHeads                               uint32
	eps                                          float32
	_                                            uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(ropeGradPush{})

// RopeGrad records the op.
func (k *Kernels) RopeGrad(rec *vk.Recorder, r RopeGrad) error {
	if err := r.check(k.Act.Size()); err != nil {
		return err
	}
	wg := k.Tuning.MapWorkgroup
	p, err := k.pipeline(k.byAct("rope_grad"), wg, uint32(r.Size), bit(r.normed()), uint32(max(1, r.Shares)))
	if err != nil {
		return err
	}
	push := ropeGradPush{
		qkv: r.QKV.Address, d: r.D.Address, dqkv: r.DQKV.Address, turns: r.Turns.Address, positions: r.Positions.Address,
		qNorm: r.QNorm.Address, kNorm: r.KNorm.Address, heads: uint32(r.Query), kvHeads: uint32(r.Key), eps: r.Eps,
	}
	reads := []vk.Range{r.D, r.Turns, r.Positions}
	if r.normed() {
		reads = append(reads, r.QKV, r.QNorm, r.KNorm)
	}
	all := r.Query + 2*r.Key
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(ceil(all*r.Size/8, int(wg))), uint32(r.Rows), 1},
		Reads:  reads, Writes: []vk.Range{r.DQKV},
		Work: vk.Work{Bytes: float64(4*r.Rows*r.columns()*r.Size + k.Act.Size()*r.Rows*all*r.Size)},
	})
	return nil
}

// columns is the number of heads in a row of D.
func (r RopeGrad) columns() int { return r.Query + 2*max(1, r.Shares)*r.Key }

// normed tells whether q and k were normed by head.
func (r RopeGrad) normed() bool { return r.QNorm.Size > 0 }

func (r RopeGrad) check(act int) error {
	const op = "rope_grad"
	rows := 4 * r.Rows * (r.Query + 2*r.Key) * r.Size
	fields := []field{
		{"D", r.D, 4 * r.Rows * r.columns() * r.Size}, {"DQKV", r.DQKV, rows / 4 * act},
		{"Turns", r.Turns, 4 * r.Context * r.Size},
		{"Positions", r.Positions, 4 * r.Rows},
	}
	if r.normed() {
		fields = append(fields, field{"QKV", r.QKV, rows}, field{"QNorm", r.QNorm, 4 * r.Size}, field{"KNorm", r.KNorm, 4 * r.Size})
	}
	if r.DQKV.Address == r.D.Address {
		return fmt.Errorf("BUG: %s: D and DQKV are both at %#x", op, r.D.Address)
	}
	return firstError(r.Heads.check(op), positive(op, r.Rows, r.Context), require(op, fields...))
}
