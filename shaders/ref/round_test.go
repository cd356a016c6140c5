package ref

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEveryF16RoundsToItself(t *testing.T) {
	for bits := range 1 << 16 {
		x := F16(uint16(bits))
		if math.IsNaN(x) || math.IsInf(x, 0) {
			continue
		}
		assert.Equal(t, uint16(bits), F16Bits(x), "%#x", bits)
	}
}

func TestF16RoundsToTheNearestAndTiesToEven(t *testing.T) {
	assert.Equal(t, 1.0, RoundF16(1+math.Ldexp(1, -11)), "a tie, and 1 is even")
	assert.Equal(t, 1+math.Ldexp(1, -9), RoundF16(1+3*math.Ldexp(1, -11)))
	assert.Equal(t, 65504.0, RoundF16(1e9))
	assert.Equal(t, -65504.0, RoundF16(math.Inf(-1)))
	assert.Equal(t, math.Ldexp(1, -24), RoundF16(0.6*math.Ldexp(1, -24)))
	assert.Zero(t, RoundF16(math.Ldexp(1, -25)))
	assert.True(t, math.IsNaN(F16(F16Bits(math.NaN()))))
	assert.True(t, math.IsInf(F16(0xfc00), -1))
}

func TestBF16RoundsToTheNearestAndTiesToEven(t *testing.T) {
	assert.Equal(t, 1.0, RoundBF16(1+math.Ldexp(1, -8)), "a tie, and 1 is even")
	assert.Equal(t, 1+math.Ldexp(1, -6), RoundBF16(1+3*math.Ldexp(1, -8)))
	assert.Equal(t, uint16(0x3f80), BF16Bits(1))
	assert.Equal(t, -2.5, BF16(BF16Bits(-2.5)))
}
