package ref

import "math"

// SiLUGrad is the gradient of sum(dy * SiLU(gate) * up) with regard to gate
// and up, which lie side by side in each row [., 2 width]. With s the logistic function
//
//	dgate = dy up s (1 + gate (1 - s)),  dup = dy gate s
func SiLUGrad(gateUp, dy []float32, width int) []float64 {
	d := make([]float64, len(gateUp))
	for i, y := range dy {
		at := i/width*2*width + i%width
		gate, up := float64(gateUp[at]), float64(gateUp[at+width])
		s := 1 / (1 + math.Exp(-gate))
		d[at] = float64(y) * up * s * (1 + gate*(1-s))
		d[at+width] = float64(y) * gate * s
	}
	return d
}
