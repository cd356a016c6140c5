package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// SiLUGrad is the gradient of silu(gate) * up with respect to both.
type SiLUGrad struct {
	GateUp vk.Range // [Rows, 2 * Width] float32: gate and up side by side
	DY     vk.Range // [Rows, Width] float32
	D      vk.Range // [Rows, 2 * Width] float32; may be GateUp

	Rows, Width int
}

type siluGradPush struct {
	gateUp, dy, d uint64
	rows, n       uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(siluGradPush{})

// SiLUGrad records the op.
func (k *Kernels) SiLUGrad(rec *vk.Recorder, s SiLUGrad) error {
	const op = "silu_grad"
	size := 4 * s.Rows * s.Width
	if err := firstError(quads(op, s.Width), positive(op, s.Rows),
		require(op, field{"GateUp", s.GateUp, 2 * size}, field{"DY", s.DY, size}, field{"D", s.D, 2 * size})); err != nil {
		return err
	}
	wg := k.Tuning.MapWorkgroup
	p, err := k.pipeline(op, wg)
	if err != nil {
		return err
	}
	push := siluGradPush{gateUp: s.GateUp.Address, dy: s.DY.Address, d: s.D.Address, rows: uint32(s.Rows), n: uint32(s.Width)}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{uint32(ceil(s.Width/4, int(wg))), uint32(s.Rows), 1},
		Reads: []vk.Range{s.GateUp, s.DY}, Writes: []vk.Range{s.D}, Work: vk.Work{Bytes: float64(5 * size)},
	})
	return nil
}
