package engine

import (
	"math"
	"unsafe"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// OptimizerRow is one optimizer step of one adapter. It mirrors Update in
// update.glsl. The arrays are as long as each other, aligned to 16 bytes, and
// lie apart from those of the other rows.
type OptimizerRow struct {
	Weights        uint64 // [Count] float32: the master copy
	Gradient       uint64 // [Count] float32: sums over targets; cleared
	Mean, Variance uint64 // [Count] float32: moments, from zero; null with SGD
	Copy           uint64 // [Count] in the activation type: what the other kernels read; null: the master
	Partials       uint64 // [GradParts] float32
	Count          uint32 // a multiple of 4
	Kind           uint32 // a batch.Optimizer
	Divisor, Clip  float32
	Rate, Decay    float32
	Beta1, Rest1   float32
	Beta2, Rest2   float32
	Eps            float32
	Correction     float32
}

const optimizerRowBytes = int(unsafe.Sizeof(OptimizerRow{}))

// NewOptimizerRow is an update's row without addresses and count. What the
// rules compute from the hyperparameters alone is computed here in float64.
func NewOptimizerRow(u batch.Update) OptimizerRow {
	row := OptimizerRow{
		Kind: uint32(u.Optimizer), Divisor: float32(u.Targets), Clip: float32(u.Clip),
		Rate: float32(u.LR), Decay: float32(u.LR * u.WeightDecay),
	}
	if u.Optimizer == batch.AdamW {
		step := float64(u.Step)
		row.Rate = float32(u.LR / (1 - math.Pow(u.Beta1, step)))
		row.Beta1, row.Rest1 = float32(u.Beta1), float32(1-u.Beta1)
		row.Beta2, row.Rest2 = float32(u.Beta2), float32(1-u.Beta2)
		row.Eps, row.Correction = float32(u.Eps), float32(math.Sqrt(1-math.Pow(u.Beta2, step)))
	}
	return row
}

// OptimizerStep is a step of several adapters by the mean of their gradients,
// clipped to a global norm, after GradNorm left that in parts. With g the
// gradient / Divisor * min(1, Clip / (norm + 1e-6)), as in PyTorch:
//
//	w -= LR decay w
//	AdamW: m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//	       w -= LR / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//	SGD:   w -= LR g
//
// The gradient is cleared. Where its norm is not finite, nothing else but Norms changes.
type OptimizerStep struct {
	Rows          vk.Range // [Updates] OptimizerRow; what it points to is checked by the caller
	Norms         vk.Range // [Updates] float32: the norms before clipping
	Updates       int
	Longest       int        // most floats of an update
	Reads, Writes []vk.Range // all that the rows point to; all but the partial sums
}

type optimizerPush struct{ rows, norms uint64 }

const _ = vk.MaxPush - unsafe.Sizeof(optimizerPush{})

// Optimizer records the op.
func (k *Kernels) Optimizer(rec *vk.Recorder, o OptimizerStep) error {
	if err := firstError(quads("optimizer", o.Longest), positive("optimizer", o.Updates), require("optimizer",
		field{"Rows", o.Rows, optimizerRowBytes * o.Updates}, field{"Norms", o.Norms, 4 * o.Updates})); err != nil {
		return err
	}
	p, err := k.pipeline(k.byAct("optimizer"), k.Tuning.MapWorkgroup)
	if err != nil {
		return err
	}
	// Enough floats for a workgroup that it need not mind adding up the parts
	// first; more where the device takes no more workgroups.
	const share, most = 4096, 65535
	push := optimizerPush{o.Rows.Address, o.Norms.Address}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{uint32(min(most, ceil(o.Longest, share))), uint32(o.Updates), 1},
		Reads: append([]vk.Range{o.Rows}, o.Reads...), Writes: append([]vk.Range{o.Norms}, o.Writes...),
		Work: vk.Work{Bytes: totalSize(o.Reads) + totalSize(o.Writes)},
	})
	return nil
}
