package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// OptimizerStep updates the weights of several adapters and clears their
// gradients.
type OptimizerStep struct {
	Rows   vk.Range   // [Updates] OptimizerRow: the caller checks what they point to
	Norms  vk.Range   // [Updates] float32: the gradients' norms
	Reads  []vk.Range // the partials that GradNorm left
	Writes []vk.Range // weights, gradients, moments, copies: read as well

	Updates int
	Longest int // most numbers of an update
}

type optimizerPush struct{ rows, norms uint64 }

const _ = vk.MaxPush - unsafe.Sizeof(optimizerPush{})

// Optimizer records the op.
func (k *Kernels) Optimizer(rec *vk.Recorder, o OptimizerStep) error {
	const op = "optimizer"
	if err := firstError(quads(op, o.Longest), positive(op, o.Updates), require(op,
		field{"Rows", o.Rows, o.Updates * optimizerRowBytes}, field{"Norms", o.Norms, 4 * o.Updates})); err != nil {
		return err
	}
	wg := k.Tuning.MapWorkgroup
	p, err := k.pipeline(k.names.optimizer, wg)
	if err != nil {
		return err
	}
	push := optimizerPush{o.Rows.Address, o.Norms.Address}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{uint32(ceil(o.Longest/4, int(wg))), uint32(o.Updates), 1},
		Reads: append(append([]vk.Range{o.Rows}, o.Reads...), o.Writes...), Writes: append([]vk.Range{o.Norms}, o.Writes...),
		Work: vk.Work{Bytes: 2 * bytesOf(o.Writes)},
	})
	return nil
}
