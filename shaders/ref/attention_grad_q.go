package ref

// GradQ returns the gradient by the rotated queries in the first Heads heads of
// d [rows, (Heads + 2 KeyHeads) Size], which is NaN elsewhere.
func (a AttentionGrad) GradQ(runs []Run) []float64 {
	d := a.empty(runs, 0, a.Heads)
	a.pairs(runs, func(p pair) { a.add(d, p.row, p.head, a.scale()*p.ds, a.Keys[p.key:]) })
	return d
}
