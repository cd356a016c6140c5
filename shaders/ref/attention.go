package ref

import (
	"math"
	"slices"
)

// Attention is causal scaled dot-product attention (Vaswani et al. 2017) with
// grouped heads (Ainslie et al. 2023) over a paged cache (Kwon et al. 2023).
type Attention struct {
	Heads, KeyHeads, Size int
	Window                int       // keys a query sees, itself included; 0: all
	Q                     []float32 // [rows, Heads Size]
	Keys, Values          []float32 // [blocks, KeyHeads, BlockSize, Size]
	Tables                []int32   // block tables, one behind the other
}

// attend writes one row of y: the query of a row, at a position of the sequence
// whose block table starts at table.
func (a Attention) attend(y []float64, row, position, table int) {
	for head := range a.Heads {
		first, scores := a.scores(row, head, position, table)
		total, out := logSum(scores), make([]float64, a.Size)
		for i, s := range scores {
			for j, v := range a.Values[a.cell(table, first+i, head/(a.Heads/a.KeyHeads)):][:a.Size] {
				out[j] += math.Exp(s-total) * float64(v)
			}
		}
		copy(y[(row*a.Heads+head)*a.Size:], out)
	}
}

// scores are a query's with the keys it sees, of which first is the first.
func (a Attention) scores(row, head, position, table int) (first int, scores []float64) {
	if a.Window > 0 {
		first = max(0, position+1-a.Window)
	}
	q := a.Q[(row*a.Heads+head)*a.Size:][:a.Size]
	for key := first; key <= position; key++ {
		k := a.Keys[a.cell(table, key, head/(a.Heads/a.KeyHeads)):][:a.Size]
		scores = append(scores, dot(q, k)/math.Sqrt(float64(a.Size)))
	}
	return first, scores
}

// logSum is the log of the sum of exp(x).
func logSum(x []float64) float64 {
	top, sum := slices.Max(x), 0.0
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

func (a Attention) cell(table, key, keyHead int) int {
	block := int(a.Tables[table+key/BlockSize])
	return InCache(block*BlockSize+key%BlockSize, a.KeyHeads, keyHead, a.Size)
}
