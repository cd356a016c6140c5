package shaders_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine/weights"
)

// sumError bounds the error of float32 arithmetic relative to the largest
// result: some hundred terms of like size, each rounded by 2^-24, and exp and
// log to a few units in the last place.
const sumError = 1e-5

var nan = math.NaN()

// storeError bounds the rounding of a result to its type, relative to itself.
// GLSL leaves the direction of packHalf2x16 to the device, so that float16
// may be off by a whole unit; bfloat16 is rounded to nearest by the kernels.
func storeError(dt weights.DType) float64 {
	switch dt {
	case weights.F16:
		return math.Ldexp(1, -10)
	case weights.BF16:
		return math.Ldexp(1, -8)
	}
	return math.Ldexp(1, -24)
}

// requireClose demands that a kernel's result of a type is the oracle's up to
// rounding. Where the oracle has NaN the kernel must not have written, and so
// must have left the NaN that was there.
func requireClose(t testing.TB, want, got []float64, dt weights.DType, what ...any) {
	t.Helper()
	requireWithin(t, sumError, want, got, dt, what...)
}

// requireWithin is requireClose with another bound for the error of sums.
func requireWithin(t testing.TB, sumError float64, want, got []float64, dt weights.DType, what ...any) {
	t.Helper()
	require.Len(t, got, len(want), what...)
	largest := 0.0
	for _, w := range want {
		if !math.IsNaN(w) {
			largest = max(largest, math.Abs(w))
		}
	}
	for i, w := range want {
		limit := sumError*largest + storeError(dt)*math.Abs(w)
		if dt == weights.F16 {
			limit += math.Ldexp(1, -24) // its subnormals' unit
		}
		if math.IsNaN(w) == math.IsNaN(got[i]) && !(math.Abs(w-got[i]) > limit) {
			continue
		}
		require.Fail(t, fmt.Sprintf("element %d of %d: kernel %g, oracle %g, allowed %g", i, len(want), got[i], w, limit), what...)
	}
}

// requireExact demands the same numbers, with NaN where the oracle has it.
func requireExact(t testing.TB, want, got []float64, what ...any) {
	t.Helper()
	require.Len(t, got, len(want), what...)
	for i, w := range want {
		if w != got[i] && !(math.IsNaN(w) && math.IsNaN(got[i])) {
			require.Fail(t, fmt.Sprintf("element %d of %d: kernel %g, oracle %g", i, len(want), got[i], w), what...)
		}
	}
}
