package ref

// Decode attends for runs of one query each: the last of its sequence. It
// returns y [rows, Heads Size]; rows in no run are NaN.
func (a Attention) Decode(runs []Run) []float64 {
	y := untouched(len(a.Q))
	for _, r := range runs {
		a.attend(y, r.Row, r.Position, r.Table)
	}
	return y
}
