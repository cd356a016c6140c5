package ref

// Embed gathers rows of w [vocab, width]: x[t] = w[tokens[t]].
func Embed(w []float32, width int, tokens []int32) []float64 {
	x := make([]float64, 0, len(tokens)*width)
	for _, token := range tokens {
		for _, v := range w[int(token)*width:][:width] {
			x = append(x, float64(v))
		}
	}
	return x
}
