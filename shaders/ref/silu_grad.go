package ref

import "math"

// SiLUGrad is the gradient of sum(dy * SiLU(gate) * up) with regard to gate
// and up, which lie side by side in each row [., 2 width]. With s the logistic function
//
//	dgate = dy up s (1 + gate (1 - s)),  dup = dy gate s
//
// It also gives SiLU(gate) * up itself.
func SiLUGrad(gateUp, dy []float32, width int) (d, y []float64) {
	d, y = make([]float64, len(gateUp)), make([]float64, len(dy))
	for i, dyi := range dy {
		at := i/width*2*width + i%width
		gate, up := float64(gateUp[at]), float64(gateUp[at+width])
		s := 1 / (1 + math.Exp(-gate))
		d[at] = float64(dyi) * up * s * (1 + gate*(1-s))
		d[at+width] = float64(dyi) * gate * s
		y[i] = gate * s * up
	}
	return d, y
}
