package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// NormGrad adds to DX the gradient of RMSNorm with respect to its input.
type NormGrad struct {
	X    vk.Range // [., Width] float32: the norm's input
	G    vk.Range // [Width] float32
	DY   vk.Range // [Rows, Width] float32
	DX   vk.Range // [., Width] float32, added to
	List vk.Range // [Rows] int32: the row of X and DX behind each row of DY, all different, checked by the caller; null: its own
	Eps  float32

	Rows, Width int
}

type normGradPush struct {
	x, g, dy, dx, list uint64
	rows, k            uint32
	eps                float32
	_                  uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(normGradPush{})

// NormGrad records the op.
func (k *Kernels) NormGrad(rec *vk.Recorder, n NormGrad) error {
	const op = "norm_grad"
	inputs := 4 * n.Width // with a list the caller vouches for its rows
	if n.List.Size == 0 {
		inputs *= n.Rows
	}
	fields := []field{{"X", n.X, inputs}, {"G", n.G, 4 * n.Width}, {"DY", n.DY, 4 * n.Rows * n.Width}, {"DX", n.DX, inputs}}
	if n.List.Size > 0 {
		fields = append(fields, field{"List", n.List, 4 * n.Rows})
	}
	if err := firstError(quads(op, n.Width), positive(op, n.Rows), require(op, fields...)); err != nil {
		return err
	}
	p, err := k.pipeline(op, k.Tuning.ShrinkWorkgroup)
	if err != nil {
		return err
	}
	push := normGradPush{
		x: n.X.Address, g: n.G.Address, dy: n.DY.Address, dx: n.DX.Address, list: n.List.Address,
		rows: uint32(n.Rows), k: uint32(n.Width), eps: n.Eps,
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(n.Rows),
		Reads: present(n.X, n.G, n.DY, n.DX, n.List), Writes: []vk.Range{n.DX},
		Work: vk.Work{Bytes: float64(16 * n.Rows * n.Width)},
	})
	return nil
}
