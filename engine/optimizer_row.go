package engine

import (
	"math"
	"unsafe"

	"loquetier/engine/batch"
)

// OptimizerRow mirrors Update in optimizer.glsl.
type OptimizerRow struct {
	Weights, Gradient, Mean, Variance uint64 // [Count] float32
	Copy                              uint64 // [Count] in the activation type; 0: the weights are what forward reads
	Partials                          uint64 // [NormParts] float32
	Count, Kind                       uint32
	Divisor, Clip, Rate, Decay        float32
	Beta1, Beta2, Eps                 float32
	Correction1, Correction2          float32
	_                                 [5]uint32
}

// optimizerRowBytes is the size of an Update in optimizer.glsl.
const optimizerRowBytes = 112

const _ = -(optimizerRowBytes ^ unsafe.Sizeof(OptimizerRow{})) // both are the same

// NormParts is the number of shares in which a gradient's norm is summed.
const NormParts = 64

// optimizerRow is an update in the kernels' words, its addresses apart.
func optimizerRow(u batch.Update) OptimizerRow {
	return OptimizerRow{
		Kind: uint32(u.Optimizer), Divisor: float32(u.Targets), Clip: float32(u.Clip), Rate: float32(u.LR), Decay: float32(u.WeightDecay),
		Beta1: float32(u.Beta1), Beta2: float32(u.Beta2), Eps: float32(u.Eps),
		Correction1: float32(1 - math.Pow(u.Beta1, float64(u.Step))), Correction2: float32(math.Sqrt(1 - math.Pow(u.Beta2, float64(u.Step)))),
	}
}
