package ref

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The gradients of SMLM against central differences of the forward oracles.
// The product is linear in each of X, A and B, so that differences over a whole
// unit are exact but for rounding.
func TestSMLMGradients(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 0))
	normal := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	const in, stride = 6, 4
	adapter := func(out, rank int) Adapter {
		return Adapter{A: normal(rank * in), B: normal(out * rank), Rank: rank, Scale: 1.5}
	}
	modules := []Module{
		{W: normal(5 * in), Out: 5, Adapters: []Adapter{adapter(5, 2), adapter(5, 4)}},
		{W: normal(3 * in), Out: 3, Adapters: []Adapter{{}, adapter(3, 3)}},
	}
	slots := []int32{0, 0, 1, Base}
	x, weigh := normal(len(slots)*in), normal(len(slots)*8)
	loss := func() float64 {
		v := floats(Shrink(modules, x, in, slots, stride))
		sum := 0.0
		for i, y := range (Linear{Modules: modules, In: in, X: x, Slots: slots, V: v, Stride: stride}).Run() {
			sum += y * float64(weigh[i])
		}
		return sum
	}
	slope := func(at *float32) float64 {
		was := *at
		*at = was + 1
		above := loss()
		*at = was - 1
		below := loss()
		*at = was
		return (above - below) / 2
	}
	u, v := floats(ShrinkGrad(modules, weigh, slots, stride)), floats(Shrink(modules, x, in, slots, stride))
	for i, dx := range LinearGrad(modules, in, weigh, slots, u, stride) {
		require.InDelta(t, slope(&x[i]), dx, 1e-4, "dX %d", i)
	}
	for slot := range int32(2) {
		da, db := LoRAGrad(modules, slot, in, x, weigh, slots, u, v, stride)
		for m, module := range modules {
			for i := range module.Adapters[slot].A {
				require.InDelta(t, slope(&module.Adapters[slot].A[i]), da[m][i], 1e-4, "dA %d of module %d", i, m)
			}
			for i := range module.Adapters[slot].B {
				require.InDelta(t, slope(&module.Adapters[slot].B[i]), db[m][i], 1e-4, "dB %d of module %d", i, m)
			}
		}
	}
}

func floats(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}
