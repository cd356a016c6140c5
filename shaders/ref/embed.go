package ref

// Embed gathers rows of w [vocab, width]: x[t] = w[tokens[t]], where a token ~i
// stands for picks[i], or for the last of the vocabulary where that is outside it.
func Embed(w []float32, width int, tokens, picks []int32) []float64 {
	vocab := len(w) / width
	x := make([]float64, 0, len(tokens)*width)
	for _, token := range tokens {
		if token < 0 {
			if token = picks[^token]; token < 0 || int(token) >= vocab {
				token = int32(vocab - 1)
			}
		}
		for _, v := range w[int(token)*width:][:width] {
			x = append(x, float64(v))
		}
	}
	return x
}
