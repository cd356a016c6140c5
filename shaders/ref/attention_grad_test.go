package ref

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// coarse draws numbers that a step of a power of two changes without rounding.
func coarse(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Round(rng.NormFloat64()*256) / 256)
	}
	return x
}

// slope is the derivative of f by one of its inputs, by the five-point stencil.
func slope(x *float32, f func() float64) float64 {
	const h = 1. / 64
	at := *x
	defer func() { *x = at }()
	value := func(steps float32) float64 {
		*x = at + steps*h
		return f()
	}
	return (8*(value(1)-value(-1)) - (value(2) - value(-2))) / (12 * h)
}

func inner(weights []float32, y []float64) float64 {
	s := 0.0
	for i, w := range weights {
		s += float64(w) * y[i]
	}
	return s
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// packed is two sequences, of 2 and 18 tokens, the second over two blocks.
func packed(rng *rand.Rand, window int) (AttentionGrad, []Run) {
	const rows, blocks = 20, 4
	a := AttentionGrad{Attention: Attention{Heads: 4, KeyHeads: 2, Size: 4, Window: window, Tables: []int32{3, 0, 2}}}
	a.Q, a.DY = coarse(rng, rows*a.Heads*a.Size), coarse(rng, rows*a.Heads*a.Size)
	a.Keys, a.Values = coarse(rng, blocks*a.KeyHeads*BlockSize*a.Size), coarse(rng, blocks*a.KeyHeads*BlockSize*a.Size)
	runs := []Run{{Row: 0, Queries: 2, Table: 0}, {Row: 2, Queries: 18, Table: 1}}
	a.Y = narrow(a.Prefill(runs))
	return a, runs
}

func TestAttentionGradIsTheSlope(t *testing.T) {
	for _, window := range []int{0, 1, 5} {
		a, runs := packed(rand.New(rand.NewPCG(1, 0)), window)
		loss := func() float64 { return inner(a.DY, a.Prefill(runs)) }
		dq, dkv, all := a.GradQ(runs), a.GradKV(runs), a.Heads+2*a.KeyHeads
		for _, r := range runs {
			for i := range r.Queries {
				row := r.Row + i
				at, q := row*all*a.Size, row*a.Heads*a.Size
				for j := range a.Heads * a.Size {
					assert.InDelta(t, slope(&a.Q[q+j], loss), dq[at+j], 2e-6, "window %d, row %d, q", window, row)
					require.True(t, math.IsNaN(dkv[at+j]))
				}
				for head := range a.KeyHeads {
					cell := a.cell(r.Table, i, head)
					for j := range a.Size {
						key, value := at+(a.Heads+head)*a.Size+j, at+(a.Heads+a.KeyHeads+head)*a.Size+j
						assert.InDelta(t, slope(&a.Keys[cell+j], loss), dkv[key], 2e-6, "window %d, row %d, key", window, row)
						assert.InDelta(t, slope(&a.Values[cell+j], loss), dkv[value], 2e-6, "window %d, row %d, value", window, row)
						require.True(t, math.IsNaN(dq[key]) && math.IsNaN(dq[value]))
					}
				}
			}
		}
	}
}

func TestStatsAreTheSoftmaxDenominators(t *testing.T) {
	a := Attention{Heads: 1, KeyHeads: 1, Size: 4, Q: []float32{1, 0, 0, 0, 0, 2, 0, 0}, Tables: []int32{0}}
	a.Keys, a.Values = make([]float32, BlockSize*4), make([]float32, BlockSize*4)
	a.Keys[0], a.Keys[1], a.Keys[4], a.Keys[5] = 6, 3, 8, 1
	assert.InDeltaSlice(t, []float64{6. / 2, math.Log(math.Exp(3) + math.Exp(1))}, a.Stats([]Run{{Row: 0, Queries: 2}}), 1e-12)
}
