package ref

// LoRAGrad are the gradients of one slot's adapters, by module: dA = U^T X and
// dB = dY^T V over the rows that have the slot; v is what Shrink left, u what
// ShrinkGrad left. Modules that the slot leaves alone have none.
func LoRAGrad(modules []Module, slot int32, in int, x, dy []float32, slots []int32, u, v []float32, stride int) (da, db [][]float64) {
	width, offset := widthOf(modules), 0
	for m, module := range modules {
		a := module.Adapters[slot]
		gradA, gradB := make([]float64, a.Rank*in), make([]float64, module.Out*a.Rank)
		for row, s := range slots {
			if s != slot || a.A == nil {
				continue
			}
			at := (row*len(modules) + m) * stride
			addOuter(gradA, u[at:][:a.Rank], x[row*in:][:in])
			addOuter(gradB, dy[row*width+offset:][:module.Out], v[at:][:a.Rank])
		}
		da, db = append(da, gradA), append(db, gradB)
		offset += module.Out
	}
	return da, db
}

// addOuter adds the outer product of two vectors to a matrix.
func addOuter(to []float64, rows, columns []float32) {
	for i, r := range rows {
		for j, c := range columns {
			to[i*len(columns)+j] += float64(r) * float64(c)
		}
	}
}
