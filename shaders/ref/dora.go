package ref

import "math"

// Dora is the gain of DoRA (Liu et al. 2024) for each output of w [out, in]:
// magnitude / |W + scale B A|, the norm being over the inputs.
func Dora(w []float32, in int, a Adapter, magnitude []float32) []float64 {
	gain := make([]float64, len(magnitude))
	for n := range gain {
		sum := 0.0
		for k := range in {
			x := float64(w[n*in+k])
			for r := range a.Rank {
				x += float64(a.Scale) * float64(a.B[n*a.Rank+r]) * float64(a.A[r*in+k])
			}
			sum += x * x
		}
		gain[n] = float64(magnitude[n]) / math.Sqrt(sum)
	}
	return gain
}
