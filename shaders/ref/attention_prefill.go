package ref

// A Run is consecutive queries of one sequence.
type Run struct {
	Row, Queries int
	Position     int // of the first
	Table        int // start of the sequence's block table in Tables
}

// Prefill attends for runs of queries; the cache holds their own keys and
// values already. It returns y [rows, Heads Size]; rows in no run are NaN.
func (a Attention) Prefill(runs []Run) []float64 {
	y := untouched(len(a.Q))
	for _, r := range runs {
		for i := range r.Queries {
			a.attend(y, r.Row+i, r.Position+i, r.Table)
		}
	}
	return y
}

// Stats returns the softmax's statistics [rows, Heads]: the log of the sum of
// exp(score) over the keys that a query sees; rows in no run are NaN.
func (a Attention) Stats(runs []Run) []float64 {
	stats := untouched(len(a.Q) / a.Size)
	for _, r := range runs {
		for i := range r.Queries {
			for head := range a.Heads {
				_, scores := a.scores(r.Row+i, head, r.Position+i, r.Table)
				stats[(r.Row+i)*a.Heads+head] = logSum(scores)
			}
		}
	}
	return stats
}
