package ref

import "math"

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
	first := 0
	if a.Window > 0 {
		first = max(0, position+1-a.Window)
	}
	for head := range a.Heads {
		at := (row*a.Heads + head) * a.Size
		q, keyHead := a.Q[at:][:a.Size], head/(a.Heads/a.KeyHeads)
		scores := make([]float64, 0, position+1-first)
		top := math.Inf(-1)
		for key := first; key <= position; key++ {
			s := dot(q, a.Keys[a.cell(table, key, keyHead):][:a.Size]) / math.Sqrt(float64(a.Size))
			scores, top = append(scores, s), max(top, s)
		}
		total := 0.0
		out := make([]float64, a.Size)
		for i, s := range scores {
			p := math.Exp(s - top)
			total += p
			for j, v := range a.Values[a.cell(table, first+i, keyHead):][:a.Size] {
				out[j] += p * float64(v)
			}
		}
		for j := range out {
			y[at+j] = out[j] / total
		}
	}
}

func (a Attention) cell(table, key, keyHead int) int {
	block := int(a.Tables[table+key/BlockSize])
	return InCache(block*BlockSize+key%BlockSize, a.KeyHeads, keyHead, a.Size)
}
