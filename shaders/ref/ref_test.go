package ref

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The oracles are checked against numbers worked out by hand and against what
// must hold whatever the numbers are.

func TestLinearByHand(t *testing.T) {
	modules := []Module{
		{W: []float32{1, 0, 0, 1}, Out: 2, Bias: []float32{10, 20}, Adapters: []Adapter{
			{A: []float32{1, 1}, B: []float32{1, 2}, Rank: 1, Scale: 0.5, Gain: []float32{2, 3}},
		}},
		{W: []float32{1, 1, 2, 2}, Out: 2, Adapters: []Adapter{{}}},
	}
	x, slots := []float32{3, 5, 3, 5}, []int32{0, Base}
	v := Shrink(modules, x, 2, slots, 1)
	assert.Equal(t, 4.0, v[0], "0.5 * (3 + 5)")
	for _, untouched := range v[1:] {
		assert.True(t, math.IsNaN(untouched))
	}
	l := Linear{Modules: modules, In: 2, X: x, Slots: slots, V: []float32{4, 0, 0, 0}, Stride: 1}
	assert.Equal(t, []float64{2*(3+4) + 10, 3*(5+8) + 20, 8, 16, 13, 25, 8, 16}, l.Run())
	l.Epilogue, l.Y = Add, []float32{1, 1, 1, 1, 1, 1, 1, 1}
	assert.Equal(t, []float64{25, 60, 9, 17, 14, 26, 9, 17}, l.Run())
	l.Epilogue = SwiGLU
	assert.InDeltaSlice(t, []float64{24 / (1 + math.Exp(-24)) * 8, 59 / (1 + math.Exp(-59)) * 16, 13 * 8, 25 * 16}, l.Run(), 1e-3)
}

func TestEmbedGathers(t *testing.T) {
	assert.Equal(t, []float64{5, 6, 1, 2, 5, 6, 3, 4, 5, 6}, Embed([]float32{1, 2, 3, 4, 5, 6}, 2, []int32{2, 0, 2, ^1, ^0}, []int32{-1, 1}))
}

func TestNormHasUnitMeanSquare(t *testing.T) {
	y := Norm([]float32{9, 9, 3, -4}, []float32{1, 1}, 0, []int32{1})
	assert.InDelta(t, 2, y[0]*y[0]+y[1]*y[1], 1e-9)
	assert.InDelta(t, -4./3, y[1]/y[0], 1e-9)
}

func TestRopeTurnsByThePosition(t *testing.T) {
	r := Rope{
		Heads: 1, KeyHeads: 1, Size: 2, QKV: []float32{1, 0, 0, 2, 7, 8},
		Turns: Turns(4, 2, 10000), Positions: []int32{3},
	}
	q, keys, values := r.Run()
	assert.InDeltaSlice(t, []float64{math.Cos(3), math.Sin(3)}, q, 1e-6)
	assert.InDeltaSlice(t, []float64{-2 * math.Sin(3), 2 * math.Cos(3)}, keys, 1e-6)
	assert.Equal(t, []float64{7, 8}, values)
}

func TestAttentionWeighsValuesByTheSoftmax(t *testing.T) {
	const cells = 2 * BlockSize
	a := Attention{Heads: 2, KeyHeads: 1, Size: 1, Q: []float32{0, 1, 0, 1}, Tables: []int32{1, 0}}
	a.Keys, a.Values = make([]float32, cells), make([]float32, cells)
	for i := range cells {
		a.Keys[i], a.Values[i] = float32(math.NaN()), float32(math.NaN())
	}
	for position := range BlockSize + 1 {
		cell := (1-position/BlockSize)*BlockSize + position%BlockSize
		a.Keys[cell], a.Values[cell] = float32(position), float32(position)
	}
	y := a.Prefill([]Run{{Row: 0, Queries: 2, Position: 1, Table: 0}})
	e := math.E
	assert.InDeltaSlice(t, []float64{0.5, e / (1 + e), 1, (e + 2*e*e) / (1 + e + e*e)}, y, 1e-9)
	y = a.Decode([]Run{{Row: 1, Position: BlockSize}})
	assert.True(t, math.IsNaN(y[0]) && math.IsNaN(y[1]), "a row in no run")
	assert.InDelta(t, 8, y[2], 1e-9)
	a.Window = 1
	assert.InDelta(t, BlockSize, a.Decode([]Run{{Row: 1, Position: BlockSize}})[3], 1e-9)
}

func TestDoraGainOfTheOwnNormIsOne(t *testing.T) {
	w := []float32{3, 4, 0, 2}
	assert.Equal(t, []float64{1, 2}, Dora(w, 2, Adapter{}, []float32{5, 4}))
	a := Adapter{A: []float32{0, 1}, B: []float32{-4, -2}, Rank: 1, Scale: 0.5}
	assert.InDeltaSlice(t, []float64{5 / math.Sqrt(9+4), 4}, Dora(w, 2, a, []float32{5, 4}), 1e-9)
}
