package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// GradParts is the number of parts in which the norm of an update's gradient
// is summed. It mirrors PARTS in update.glsl.
const GradParts = 64

// GradNorm sums the squares of the gradients of several updates, each divided
// by its divisor: GradParts sums into each one's Partials, for Optimizer.
type GradNorm struct {
	Rows          vk.Range // [Updates] OptimizerRow; what it points to is checked by the caller
	Updates       int
	Reads, Writes []vk.Range // the gradients; the partial sums
}

type gradNormPush struct{ rows uint64 }

const _ = vk.MaxPush - unsafe.Sizeof(gradNormPush{})

// GradNorm records the op.
func (k *Kernels) GradNorm(rec *vk.Recorder, g GradNorm) error {
	if err := firstError(positive("grad_norm", g.Updates),
		require("grad_norm", field{"Rows", g.Rows, optimizerRowBytes * g.Updates})); err != nil {
		return err
	}
	p, err := k.pipeline("grad_norm", k.Tuning.SampleWorkgroup)
	if err != nil {
		return err
	}
	push := gradNormPush{g.Rows.Address}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{GradParts, uint32(g.Updates), 1},
		Reads: append([]vk.Range{g.Rows}, g.Reads...), Writes: g.Writes,
		Work: vk.Work{Bytes: totalSize(g.Reads)},
	})
	return nil
}

// totalSize is the number of bytes in some ranges.
func totalSize(ranges []vk.Range) float64 {
	n := 0.0
	for _, r := range ranges {
		n += float64(r.Size)
	}
	return n
}
