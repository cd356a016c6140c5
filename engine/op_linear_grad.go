package engine

import (
	"fmt"
	"unsafe"

	"loquetier/engine/vk"
	"loquetier/shaders"
)

// LinearGrad is dX = dY . W + U . A, the gradient of a linear product with
// respect to its input; W is read as it is stored.
type LinearGrad struct {
	Product
	LoRA          // V is U, what ShrinkGrad left; Gains must be false
	DY   vk.Range // [Rows, Width(Plain) rounded up to a multiple of 4] in the activation type
	DX   vk.Range // [Rows, In] float32
	Rows int

	Scratch, Counts vk.Range // as Linear has them

	shaders.Way // forced, for tests and measurements; the zero value: chosen
}

type linearGradPush struct {
	dy, parts, u, slots, dx           uint64
	rows, k, count, dyStride, uStride uint32
	splits                            uint32
	scratch, counts                   uint64
}

const _ = vk.MaxPush - unsafe.Sizeof(linearGradPush{})

// LinearGrad records the op.
func (k *Kernels) LinearGrad(rec *vk.Recorder, l LinearGrad) error {
	if err := k.checkLinearGrad(l); err != nil {
		return err
	}
	w := k.gradWay(l)
	switch {
	case w.Matrix2:
		return k.linearGradMatrix2(rec, l)
	case w.Matrix != nil:
		return k.linearGradMatrix(rec, l, *w.Matrix)
	}
	return k.linearGradTile(rec, l, *w.Tile)
}

// linearGradTile records the kernel that runs everywhere.
func (k *Kernels) linearGradTile(rec *vk.Recorder, l LinearGrad, tile shaders.Tile) error {
	p, err := k.pipeline(k.byPair("linear_grad"), tile.Workgroup, tile.Rows, tile.Columns/4, l.Product.step(), l.mixture(tile.Rows))
	if err != nil {
		return err
	}
	k.recordLinearGrad(rec, l, p, [3]uint32{uint32(ceil(l.In, int(tile.Columns*tile.Workgroup))), uint32(ceil(l.Rows, int(tile.Rows))), 1}, 1)
	return nil
}

// recordLinearGrad records a family's pipeline; all take the same push constants.
// splits workgroups share each tile's inner dimension.
func (k *Kernels) recordLinearGrad(rec *vk.Recorder, l LinearGrad, p *vk.Pipeline, groups [3]uint32, splits int) {
	push := linearGradPush{
		dy: l.DY.Address, parts: l.Table.Address, u: l.V.Address, slots: l.Slots.Address, dx: l.DX.Address,
		rows: uint32(l.Rows), k: uint32(l.In), count: uint32(len(l.Outs)), dyStride: uint32(quadded(l.Width(Plain))), uStride: uint32(l.Stride),
		splits: uint32(splits), scratch: l.Scratch.Address, counts: l.Counts.Address,
	}
	writes := []vk.Range{l.DX}
	if splits > 1 {
		writes = append(writes, l.Scratch, l.Counts)
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: groups,
		Reads: append(present(l.DY, l.Table, l.V, l.Slots), l.LoRA.Reads...), Writes: writes,
		Work: vk.Work{
			Bytes: float64(l.Width(Plain)*l.In*k.Weight.Size() + l.Rows*(k.Act.Size()*l.Width(Plain)+4*l.In)),
			Flops: 2 * float64(l.Rows) * float64(l.Width(Plain)) * float64(l.In),
		},
	})
}

// step is how many outputs a backward kernel may load at a time: 4, or 1
// where some part does not start or end at a multiple of 4.
func (p Product) step() uint32 {
	for _, out := range p.Outs {
		if out%4 != 0 {
			return 1
		}
	}
	return 4
}

func (k *Kernels) checkLinearGrad(l LinearGrad) error {
	const op = "linear_grad"
	if len(l.Outs) == 0 || len(l.Outs) > maxParts || len(l.Weights) != len(l.Outs) || l.Gains {
		return fmt.Errorf("BUG: %s: %d parts with %d weights, gains %v", op, len(l.Outs), len(l.Weights), l.Gains)
	}
	if err := firstError(quads(op, l.In), positive(op, l.Rows), positive(op, l.Outs...)); err != nil {
		return err
	}
	fields := []field{
		{"DY", l.DY, k.Act.Size() * l.Rows * quadded(l.Width(Plain))}, {"Table", l.Table, len(l.Outs) * partBytes}, {"DX", l.DX, 4 * l.Rows * l.In},
	}
	for i, w := range l.Weights {
		fields = append(fields, field{fmt.Sprintf("W%d", i), w, l.Outs[i] * l.In * k.Weight.Size()})
	}
	if l.Slots.Size > 0 {
		if err := quads(op, l.Stride); err != nil {
			return err
		}
		fields = append(fields, field{"Slots", l.Slots, 4 * l.Rows}, field{"U", l.V, 4 * l.Rows * len(l.Outs) * l.Stride})
	}
	return require(op, fields...)
}
