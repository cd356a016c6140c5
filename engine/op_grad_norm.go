package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// GradNorm sums the shares of the squared norms of the updates' gradients.
type GradNorm struct {
	Rows    vk.Range   // [Updates] OptimizerRow: the caller checks what they point to
	Reads   []vk.Range // the gradients
	Writes  []vk.Range // the partials
	Updates int
}

type gradNormPush struct{ rows uint64 }

const _ = vk.MaxPush - unsafe.Sizeof(gradNormPush{})

// GradNorm records the op.
func (k *Kernels) GradNorm(rec *vk.Recorder, g GradNorm) error {
	const op = "grad_norm"
	if err := firstError(positive(op, g.Updates), require(op, field{"Rows", g.Rows, g.Updates * optimizerRowBytes})); err != nil {
		return err
	}
	p, err := k.pipeline(op, k.Tuning.MapWorkgroup)
	if err != nil {
		return err
	}
	push := gradNormPush{g.Rows.Address}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{NormParts, uint32(g.Updates), 1},
		Reads: append([]vk.Range{g.Rows}, g.Reads...), Writes: g.Writes, Work: vk.Work{Bytes: bytesOf(g.Reads)},
	})
	return nil
}

func bytesOf(ranges []vk.Range) float64 {
	n := 0.0
	for _, r := range ranges {
		n += float64(r.Size)
	}
	return n
}
