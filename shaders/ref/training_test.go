package ref

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

// sixtyFourths draws multiples of 1/64: float32 holds them moved by the step
// of slopes exactly, so that the forward oracles are evaluated in float64.
func sixtyFourths(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Round(r.NormFloat64()*64)) / 64
	}
	return x
}

// slopes are central differences of a loss with regard to x.
func slopes(x []float32, loss func() float64) []float64 {
	const step = 1.0 / 1024
	out := make([]float64, len(x))
	for i, v := range x {
		x[i] = v + step
		above := loss()
		x[i] = v - step
		out[i] = (above - loss()) / (2 * step)
		x[i] = v
	}
	return out
}

// weighted is the sum of y, each with its weight.
func weighted(y []float64, weights []float32) float64 {
	s := 0.0
	for i, v := range y {
		s += v * float64(weights[i])
	}
	return s
}

// The error of a central difference is the step squared times a third derivative.
const slopeError = 2e-5

func TestNormGradIsTheSlopeOfNorm(t *testing.T) {
	r := rand.New(rand.NewPCG(40, 0))
	x, g, dy := sixtyFourths(r, 5*6), sixtyFourths(r, 6), sixtyFourths(r, 3*6)
	for _, list := range [][]int32{{4, 0, 3}, {0, 1, 2}} {
		want := slopes(x, func() float64 { return weighted(Norm(x, g, 0.25, list), dy) })
		assert.InDeltaSlice(t, want, NormGrad(x, g, dy, make([]float32, len(x)), 0.25, list), slopeError)
	}
}

func TestNormGradAdds(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 0))
	x, g, dy, dx := sixtyFourths(r, 8), sixtyFourths(r, 4), sixtyFourths(r, 8), sixtyFourths(r, 8)
	alone, added := NormGrad(x, g, dy, make([]float32, 8), 0.1, nil), NormGrad(x, g, dy, dx, 0.1, []int32{0, 1})
	for i := range alone {
		assert.InDelta(t, alone[i]+float64(dx[i]), added[i], 1e-12)
	}
}

func TestSiLUGradIsTheSlope(t *testing.T) {
	r := rand.New(rand.NewPCG(42, 0))
	x, dy := sixtyFourths(r, 3*2*4), sixtyFourths(r, 3*4)
	want := slopes(x, func() float64 {
		var y []float64
		for row := range 3 {
			for i := range 4 {
				y = append(y, SiLU(float64(x[row*8+i]))*float64(x[row*8+4+i]))
			}
		}
		return weighted(y, dy)
	})
	got, _ := SiLUGrad(x, dy, 4)
	assert.InDeltaSlice(t, want, got, slopeError)
}

func TestCrossEntropyIsTheSlopeOfItsOwnLoss(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 0))
	x, targets := sixtyFourths(r, 3*5), []int32{4, 0, 2}
	logs, gradient := CrossEntropy(x, targets)
	assert.InDelta(t, LogProbabilities(x[5:10])[0], logs[1], 1e-12)
	want := slopes(x, func() float64 {
		logs, _ := CrossEntropy(x, targets)
		return -logs[0] - logs[1] - logs[2]
	})
	assert.InDeltaSlice(t, want, gradient, slopeError)
}

// Worked out by hand: the first step of AdamW has the length of the learning
// rate whatever the gradient, the second one forgets by the betas.
func TestOptimizerByHand(t *testing.T) {
	o := Optimizer{Step: 1, LR: 0.1, Beta1: 0.5, Beta2: 0.75, Decay: 0.5}
	u := o.Update([]float32{2, 2}, []float32{4, -8}, []float32{0, 0}, []float32{0, 0}, 2)
	assert.InDeltaSlice(t, []float64{2*0.95 - 0.1, 2*0.95 + 0.1}, u.Weights, 1e-12)
	assert.InDeltaSlice(t, []float64{1, -2}, u.Mean, 1e-12)
	assert.InDeltaSlice(t, []float64{1, 4}, u.Variance, 1e-12)
	assert.InDelta(t, math.Sqrt(20), u.Norm, 1e-12)
	o.Step, o.Decay, o.Eps = 2, 0, 1
	u = o.Update([]float32{0}, []float32{1}, []float32{1}, []float32{4}, 1)
	assert.InDelta(t, 3.25, u.Variance[0], 1e-12)
	assert.InDelta(t, -0.1*(1/0.75)/(math.Sqrt(3.25/(1-0.5625))+1), u.Weights[0], 1e-12)
	o.SGD, o.Clip = true, 1
	u = o.Update([]float32{0, 0}, []float32{3, 4}, nil, nil, 1)
	assert.InDeltaSlice(t, []float64{-0.06, -0.08}, u.Weights, 1e-6)
	o.Clip = 10
	assert.InDeltaSlice(t, []float64{-0.3, -0.4}, o.Update([]float32{0, 0}, []float32{3, 4}, nil, nil, 1).Weights, 1e-12)
}

func TestOptimizerLeavesOutWhatIsNotFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		u := Optimizer{Step: 1, LR: 1, Decay: 0.5}.Update([]float32{1, 2}, []float32{1, float32(bad)}, []float32{3, 4}, []float32{5, 6}, 1)
		assert.Equal(t, [][]float64{{1, 2}, {3, 4}, {5, 6}}, [][]float64{u.Weights, u.Mean, u.Variance})
		assert.False(t, u.Norm <= math.MaxFloat64)
	}
}
