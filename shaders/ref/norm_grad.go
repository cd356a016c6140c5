package ref

import "math"

// NormGrad is dx with the gradient of Norm added: of sum(dy * y) with regard
// to the rows of x that y was made from. With r = 1 / sqrt(mean(x^2) + eps)
//
//	dx_j += r g_j dy_j - x_j r^3 / width * sum_i g_i dy_i x_i
func NormGrad(x, g, dy, dx []float32, eps float32, list []int32) []float64 {
	width := len(g)
	out := wide(dx)
	for i := range len(dy) / width {
		row := i
		if list != nil {
			row = int(list[i])
		}
		a, d := x[row*width:][:width], dy[i*width:][:width]
		r := 1 / math.Sqrt(dot(a, a)/float64(width)+float64(eps))
		pull := 0.0
		for j := range a {
			pull += float64(g[j]) * float64(d[j]) * float64(a[j])
		}
		for j := range a {
			out[row*width+j] += r*float64(g[j])*float64(d[j]) - float64(a[j])*r*r*r/float64(width)*pull
		}
	}
	return out
}
