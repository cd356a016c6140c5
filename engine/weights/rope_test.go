package weights

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestInverseFrequencies(t *testing.T) {
	c := Config{HeadDim: 8, RopeTheta: 10000}
	assert.InDeltaSlice(t, []float64{1, 0.1, 0.01, 0.001}, c.InverseFrequencies(), 1e-15)
	c.RopeScaling = &RopeScaling{Type: "linear", Factor: 4}
	assert.InDeltaSlice(t, []float64{0.25, 0.025, 0.0025, 0.00025}, c.InverseFrequencies(), 1e-15)
}

// Worked by hand: within 64 positions the four frequencies make 64/2π = 10.19,
// 1.019, 0.1019 and 0.01019 turns. The first is above 4 and stays, the last two
// are below 1 and are divided by 8, the second is blended with weight
// (1.0186-1)/(4-1) = 0.0062.
func TestInverseFrequenciesLlama3(t *testing.T) {
	c := Config{HeadDim: 8, RopeTheta: 10000, RopeScaling: &RopeScaling{
		Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 64}}
	smooth := (6.4/(2*math.Pi) - 1) / 3
	assert.InDelta(t, 0.0062, smooth, 1e-4)
	want := []float64{1, (1-smooth)*0.0125 + smooth*0.1, 0.00125, 0.000125}
	assert.InDeltaSlice(t, want, c.InverseFrequencies(), 1e-15)
}
