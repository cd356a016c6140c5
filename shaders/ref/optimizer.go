package ref

import "math"

// Optimizer is a rule of updates: AdamW (Loshchilov and Hutter 2019) in
// PyTorch's order of operations, or SGD with the same decoupled decay.
type Optimizer struct {
	SGD          bool
	Step         int // from 1
	LR           float64
	Beta1, Beta2 float64
	Eps, Decay   float64
	Clip         float64 // largest norm of the gradient; 0: any
}

// Updated is what an update leaves.
type Updated struct {
	Weights, Mean, Variance []float64
	Norm                    float64 // of the gradient, before it is clipped
}

// Update moves the weights by gradient / divisor, and with AdamW the moments.
// A gradient whose norm is not finite leaves all as it is.
func (o Optimizer) Update(weights, gradient, mean, variance []float32, divisor float32) Updated {
	u := Updated{Weights: wide(weights), Mean: wide(mean), Variance: wide(variance), Norm: GradNorm(gradient, divisor)}
	if math.IsNaN(u.Norm) || math.IsInf(u.Norm, 0) {
		return u
	}
	factor := 1 / float64(divisor)
	if o.Clip > 0 {
		factor *= min(1, o.Clip/(u.Norm+1e-6))
	}
	for i := range gradient {
		g := float64(gradient[i]) * factor
		u.Weights[i] *= 1 - o.LR*o.Decay
		if o.SGD {
			u.Weights[i] -= o.LR * g
			continue
		}
		u.Mean[i] = o.Beta1*u.Mean[i] + (1-o.Beta1)*g
		u.Variance[i] = o.Beta2*u.Variance[i] + (1-o.Beta2)*g*g
		rate := o.LR / (1 - math.Pow(o.Beta1, float64(o.Step)))
		root := math.Sqrt(u.Variance[i]) / math.Sqrt(1-math.Pow(o.Beta2, float64(o.Step)))
		u.Weights[i] -= rate * u.Mean[i] / (root + o.Eps)
	}
	return u
}
