package ref

import "math"

// AttentionGrad is the backward of attention for whole sequences: runs whose
// first query is at position 0, so that every key has a row.
type AttentionGrad struct {
	Attention
	Y  []float32 // [rows, Heads Size]: attention's output as it was stored
	DY []float32 // [rows, Heads Size]: the loss's gradient by it
}

// pair is a query and a key that it sees.
type pair struct {
	query, key    int // where their vectors begin in Q and in Keys
	row, keyRow   int
	head, keyHead int
	p, ds         float64 // the pair's probability, and the gradient by its score
}

// pairs visits every pair of the runs: ds = p (dy.v - dy.y), the softmax's
// backward.
func (a AttentionGrad) pairs(runs []Run, visit func(pair)) {
	delta := a.Delta(runs)
	for _, r := range runs {
		for i := range r.Queries * a.Heads {
			row, head := r.Row+i/a.Heads, i%a.Heads
			at, keyHead := (row*a.Heads+head)*a.Size, head/(a.Heads/a.KeyHeads)
			first, scores := a.scores(row, head, r.Position+i/a.Heads, r.Table)
			total := logSum(scores)
			for j, s := range scores {
				cell, p := a.cell(r.Table, first+j, keyHead), math.Exp(s-total)
				ds := p * (dot(a.DY[at:][:a.Size], a.Values[cell:][:a.Size]) - delta[row*a.Heads+head])
				visit(pair{query: at, key: cell, row: row, keyRow: r.Row + first + j, head: head, keyHead: keyHead, p: p, ds: ds})
			}
		}
	}
}

// Delta returns dy.y by head [rows, Heads]; rows in no run are NaN.
func (a AttentionGrad) Delta(runs []Run) []float64 {
	delta := untouched(len(a.Q) / a.Size)
	for _, r := range runs {
		for i := r.Row * a.Heads; i < (r.Row+r.Queries)*a.Heads; i++ {
			delta[i] = dot(a.DY[i*a.Size:][:a.Size], a.Y[i*a.Size:][:a.Size])
		}
	}
	return delta
}

// empty is a result [rows, (Heads + 2 KeyHeads) Size] that is zero in heads
// [from, to) of the runs' rows and NaN elsewhere.
func (a AttentionGrad) empty(runs []Run, from, to int) []float64 {
	all := a.Heads + 2*a.KeyHeads
	d := untouched(len(a.Q) / a.Heads * all)
	for _, r := range runs {
		for row := r.Row; row < r.Row+r.Queries; row++ {
			clear(d[(row*all+from)*a.Size : (row*all+to)*a.Size])
		}
	}
	return d
}

// add adds weight x to a head of a row of d.
func (a AttentionGrad) add(d []float64, row, head int, weight float64, x []float32) {
	at := (row*(a.Heads+2*a.KeyHeads) + head) * a.Size
	for i, v := range x[:a.Size] {
		d[at+i] += weight * float64(v)
	}
}

func (a AttentionGrad) scale() float64 { return 1 / math.Sqrt(float64(a.Size)) }
