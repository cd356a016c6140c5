package ref

// GradKV returns the gradients by the rotated keys and by the values in the last
// 2 KeyHeads heads of d [rows, (Heads + 2 KeyHeads) Size], which is NaN elsewhere.
func (a AttentionGrad) GradKV(runs []Run) []float64 {
	d := a.empty(runs, a.Heads, a.Heads+2*a.KeyHeads)
	a.pairs(runs, func(p pair) {
		a.add(d, p.keyRow, a.Heads+p.keyHead, a.scale()*p.ds, a.Q[p.query:])
		a.add(d, p.keyRow, a.Heads+a.KeyHeads+p.keyHead, p.p, a.DY[p.query:])
	})
	return d
}
