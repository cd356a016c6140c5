package ref

// ShrinkGrad is U [rows, modules, stride] = scale * dY B for the rows that
// have an adapter: the gradient of A x, from which those of x and A follow.
func ShrinkGrad(modules []Module, dy []float32, slots []int32, stride int) []float64 {
	u, width := untouched(len(slots)*len(modules)*stride), widthOf(modules)
	for row, slot := range slots {
		offset := row * width
		for m, module := range modules {
			d := dy[offset:][:module.Out]
			offset += module.Out
			if slot == Base || module.Adapters[slot].B == nil {
				continue
			}
			a := module.Adapters[slot]
			sums := make([]float64, a.Rank)
			addRows(sums, d, a.B)
			for r, sum := range sums {
				u[(row*len(modules)+m)*stride+r] = float64(a.Scale) * sum
			}
		}
	}
	return u
}
