package ref

// Shrink is V [rows, modules, stride] = scale * A x for the rows that have an
// adapter: LoRA's first product (Hu et al. 2021), segmented by adapter as in
// SGMV (Chen et al. 2023) but without the segments: each row by itself.
func Shrink(modules []Module, x []float32, in int, slots []int32, stride int) []float64 {
	v := untouched(len(slots) * len(modules) * stride)
	for row, slot := range slots {
		if slot == Base {
			continue
		}
		for m, module := range modules {
			a := module.Adapters[slot]
			for r := range a.Rank {
				v[(row*len(modules)+m)*stride+r] = float64(a.Scale) * dot(x[row*in:][:in], a.A[r*in:][:in])
			}
		}
	}
	return v
}
