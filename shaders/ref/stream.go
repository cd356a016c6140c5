package ref

// Stream is a copy of x.
func Stream(x []float32) []float64 { return wide(x) }
