package ref

// LinearGrad is the gradient of a linear product with respect to its input,
//
//	dX = dY W + U A
//
// over the modules, whose dY lie side by side in a row of width; u is what
// ShrinkGrad left, nil where no row has an adapter.
func LinearGrad(modules []Module, in int, dy []float32, slots []int32, u []float32, stride int) []float64 {
	width := widthOf(modules)
	dx := make([]float64, len(dy)/width*in)
	for row := range len(dy) / width {
		to, offset := dx[row*in:][:in], row*width
		for m, module := range modules {
			addRows(to, dy[offset:][:module.Out], module.W)
			offset += module.Out
			if u == nil || slots[row] == Base {
				continue
			}
			if a := module.Adapters[slots[row]]; a.A != nil {
				addRows(to, u[(row*len(modules)+m)*stride:][:a.Rank], a.A)
			}
		}
	}
	return dx
}

// addRows adds x times a matrix that has a row for each number of x.
func addRows(to []float64, x, matrix []float32) {
	for i, v := range x {
		for j := range to {
			to[j] += float64(v) * float64(matrix[i*len(to)+j])
		}
	}
}

func widthOf(modules []Module) int {
	n := 0
	for _, m := range modules {
		n += m.Out
	}
	return n
}
