package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// SiLUGrad is the gradient of y = silu(gate) * up, where silu(z) = z s(z) with
// s(z) = 1 / (1 + e^-z):
//
//	dgate = DY up s(gate) (1 + gate (1 - s(gate))),  dup = DY silu(gate)
//
// and y again, so that it need not be kept.
type SiLUGrad struct {
	GateUp vk.Range // [Rows, 2*Width] in the activation type: gate, then up
	DY     vk.Range // [Rows, Width] float32
	D      vk.Range // [Rows, 2*Width] in the activation type: dgate, then dup; may be GateUp itself
	Y      vk.Range // [Rows, Width] in the activation type

	Rows, Width int
}

type siluGradPush struct {
	gateUp, dy, d, y    uint64
	rows, width, blocks uint32
	_                   uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(siluGradPush{})

// SiLUGrad records the op.
func (k *Kernels) SiLUGrad(rec *vk.Recorder, s SiLUGrad) error {
	n := s.Rows * s.Width
	act := n * k.Act.Size()
	if err := firstError(quads("silu_grad", s.Width), positive("silu_grad", s.Rows), require("silu_grad",
		field{"GateUp", s.GateUp, 2 * act}, field{"DY", s.DY, 4 * n}, field{"D", s.D, 2 * act}, field{"Y", s.Y, act})); err != nil {
		return err
	}
	wg := k.Tuning.MapWorkgroup
	p, err := k.pipeline(k.byAct("silu_grad"), wg)
	if err != nil {
		return err
	}
	blocks := ceil(s.Width, max(256, 4*int(wg))) // SPAN in silu_grad.comp
	push := siluGradPush{
		gateUp: s.GateUp.Address, dy: s.DY.Address, d: s.D.Address, y: s.Y.Address,
		rows: uint32(s.Rows), width: uint32(s.Width), blocks: uint32(blocks),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(s.Rows * blocks),
		Reads: []vk.Range{s.GateUp, s.DY}, Writes: []vk.Range{s.D, s.Y},
		Work: vk.Work{Bytes: float64(5*act + 4*n)},
	})
	return nil
}
