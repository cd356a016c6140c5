package ref

import "math"

// BlockSize is the number of tokens in a block of the paged cache.
const BlockSize = 16

// Rope rotates the heads of q and k by their position (Su et al. 2021), in the
// half-split layout: element i of the first half turns with element i of the
// second. q and k are normed by head before where norms are given.
type Rope struct {
	Heads, KeyHeads, Size int
	QKV                   []float32 // [rows, (Heads + 2 KeyHeads) Size]
	Turns                 []float32 // [positions, Size]: cos, then sin
	Positions             []int32   // [rows]
	QNorm, KNorm          []float32 // [Size] or nil
	Eps                   float32
}

// Turns is the table of cos and sin for the frequencies theta^(-2i/size).
func Turns(positions, size int, theta float64) []float32 {
	turns := make([]float32, positions*size)
	for p := range positions {
		for i := range size / 2 {
			sin, cos := math.Sincos(float64(p) * math.Pow(theta, -2*float64(i)/float64(size)))
			turns[p*size+i], turns[p*size+size/2+i] = float32(cos), float32(sin)
		}
	}
	return turns
}

// Run returns rotated q [rows, Heads Size], and keys and values [rows, KeyHeads Size].
func (r Rope) Run() (q, keys, values []float64) {
	all := r.Heads + 2*r.KeyHeads
	for row, position := range r.Positions {
		turn := r.Turns[int(position)*r.Size:][:r.Size]
		for head := range all {
			x := r.QKV[(row*all+head)*r.Size:][:r.Size]
			switch {
			case head < r.Heads:
				q = append(q, r.rotate(x, r.QNorm, turn)...)
			case head < r.Heads+r.KeyHeads:
				keys = append(keys, r.rotate(x, r.KNorm, turn)...)
			default:
				values = append(values, wide(x)...)
			}
		}
	}
	return q, keys, values
}

func (r Rope) rotate(x, norm, turn []float32) []float64 {
	h, y := wide(x), make([]float64, len(x))
	if norm != nil {
		h = Norm(x, norm, r.Eps, nil)
	}
	half := len(x) / 2
	for i := range half {
		cos, sin := float64(turn[i]), float64(turn[half+i])
		y[i] = h[i]*cos - h[half+i]*sin
		y[half+i] = h[half+i]*cos + h[i]*sin
	}
	return y
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// InCache is where a head of a cell lies in the cache [blocks, keyHeads, BlockSize, size].
func InCache(cell, keyHeads, head, size int) int {
	return ((cell/BlockSize*keyHeads+head)*BlockSize + cell%BlockSize) * size
}
