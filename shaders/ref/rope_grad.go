package ref

import "math"

// Grad takes d [rows, (Heads + 2 KeyHeads) Size], the gradients of rotated q,
// rotated k and v side by side, to the gradient by QKV, of the same shape.
func (r Rope) Grad(d []float32) []float64 {
	all := r.Heads + 2*r.KeyHeads
	var grad []float64
	for i := range len(r.Positions) * all {
		turn := r.Turns[int(r.Positions[i/all])*r.Size:][:r.Size]
		g := wide(d[i*r.Size:][:r.Size])
		norm := r.QNorm
		if i%all >= r.Heads {
			norm = r.KNorm
		}
		if i%all < r.Heads+r.KeyHeads {
			g = turnedBack(g, turn)
			if norm != nil {
				g = normGrad(r.QKV[i*r.Size:][:r.Size], norm, g, r.Eps)
			}
		}
		grad = append(grad, g...)
	}
	return grad
}

// turnedBack is the gradient before a rotation, whose transpose is its inverse.
func turnedBack(d []float64, turn []float32) []float64 {
	half := len(d) / 2
	g := make([]float64, len(d))
	for i := range half {
		cos, sin := float64(turn[i]), float64(turn[half+i])
		g[i] = d[i]*cos + d[half+i]*sin
		g[half+i] = d[half+i]*cos - d[i]*sin
	}
	return g
}

// normGrad is the gradient by x of y = x r g, r = 1/sqrt(mean(x^2) + eps), from
// that by y: dx_j = r g_j dy_j - x_j r^3/n sum_i g_i dy_i x_i.
func normGrad(x, g []float32, dy []float64, eps float32) []float64 {
	n, sum := float64(len(x)), 0.0
	for i, v := range x {
		sum += float64(g[i]) * dy[i] * float64(v)
	}
	r := 1 / math.Sqrt(dot(x, x)/n+float64(eps))
	dx := make([]float64, len(x))
	for i, v := range x {
		dx[i] = r*float64(g[i])*dy[i] - float64(v)*r*r*r/n*sum
	}
	return dx
}
