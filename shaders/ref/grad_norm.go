package ref

import "math"

// GradNorm is the norm of gradient / divisor.
func GradNorm(gradient []float32, divisor float32) float64 {
	return math.Sqrt(dot(gradient, gradient)) / float64(divisor)
}
