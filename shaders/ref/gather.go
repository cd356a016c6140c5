package ref

// Gather returns the listed rows of x [., n].
func Gather(x []float32, n int, list []int32) []float64 {
	var y []float64
	for _, row := range list {
		y = append(y, wide(x[int(row)*n:][:n])...)
	}
	return y
}
