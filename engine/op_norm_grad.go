package engine

import (
	"fmt"
	"unsafe"

	"loquetier/engine/vk"
)

// NormGrad is the gradient of RMSNorm (see Norm) with regard to its input,
// with r = 1 / sqrt(mean(x^2) + Eps):
//
//	DX_j += r G_j DY_j - X_j r^3 / Width * sum_i G_i DY_i X_i
type NormGrad struct {
	X, G vk.Range // [., Width], [Width] float32
	DY   vk.Range // [Rows, Width] float32
	DX   vk.Range // [., Width] float32, added to
	Copy vk.Range // [., Width] in the activation type: DX again, for the products that take it; or null
	List vk.Range // [Rows] int32: the row of X and of DX behind each row of DY, all different, checked by the caller; null: its own
	Eps  float32

	Rows, Width int
}

type normGradPush struct {
	x, g, dy, dx, copy, list uint64
	rows, width              uint32
	eps                      float32
	_                        uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(normGradPush{})

// NormGrad records the op.
func (k *Kernels) NormGrad(rec *vk.Recorder, n NormGrad) error {
	if err := n.check(k.Act.Size()); err != nil {
		return err
	}
	p, err := k.pipeline(k.byAct("norm_grad"), k.Tuning.ShrinkWorkgroup)
	if err != nil {
		return err
	}
	push := normGradPush{
		x: n.X.Address, g: n.G.Address, dy: n.DY.Address, dx: n.DX.Address, copy: n.Copy.Address, list: n.List.Address,
		rows: uint32(n.Rows), width: uint32(n.Width), eps: n.Eps,
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(n.Rows),
		Reads: present(n.X, n.G, n.DY, n.DX, n.List), Writes: present(n.DX, n.Copy),
		Work: vk.Work{Bytes: 4*4*float64(n.Rows*n.Width) + float64(n.Copy.Size)},
	})
	return nil
}

func (n NormGrad) check(act int) error {
	row, rows := 4*n.Width, 4*n.Rows*n.Width
	fields := []field{{"G", n.G, row}, {"DY", n.DY, rows}}
	if n.List.Size > 0 { // the caller vouches for its rows
		fields = append(fields, field{"X", n.X, row}, field{"DX", n.DX, row}, field{"List", n.List, 4 * n.Rows})
	} else {
		fields = append(fields, field{"X", n.X, rows}, field{"DX", n.DX, rows})
	}
	if n.Copy.Size > 0 && n.Copy.Size < n.DX.Size/4*uint64(act) {
		return fmt.Errorf("BUG: norm_grad: Copy has %d bytes, DX %d", n.Copy.Size, n.DX.Size)
	}
	return firstError(quads("norm_grad", n.Width), positive("norm_grad", n.Rows), require("norm_grad", fields...))
}
