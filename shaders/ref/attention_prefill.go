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
