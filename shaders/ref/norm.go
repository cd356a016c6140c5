package ref

import "math"

// Norm is RMSNorm (Zhang and Sennrich 2019) of rows of x [., width], the
// listed ones, or all where list is nil: y = x g / sqrt(mean(x^2) + eps).
func Norm(x, g []float32, eps float32, list []int32) []float64 {
	width := len(g)
	if list == nil {
		for row := range len(x) / width {
			list = append(list, int32(row))
		}
	}
	y := make([]float64, 0, len(list)*width)
	for _, from := range list {
		row := x[int(from)*width:][:width]
		r := 1 / math.Sqrt(dot(row, row)/float64(width)+float64(eps))
		for i, v := range row {
			y = append(y, float64(v)*float64(g[i])*r)
		}
	}
	return y
}
