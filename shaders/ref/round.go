// Package ref holds the slow oracles of the kernels: pure Go, one file for each
// op, float64 inside, written to be read. They take the numbers that a kernel
// finds in memory (so 16-bit inputs are rounded before) and return what an exact
// kernel would compute, not rounded to the type it stores. Elements that a
// kernel leaves alone are NaN.
package ref

import "math"

// Largest float16.
const maxF16 = 65504

// RoundF16 is the float16 nearest to x, ties to even, and beyond its range the
// largest one, as the kernels store it.
func RoundF16(x float64) float64 {
	return max(-maxF16, min(maxF16, nearest(x, 10, -14)))
}

// RoundBF16 is the bfloat16 nearest to x, ties to even.
func RoundBF16(x float64) float64 { return nearest(x, 7, -126) }

// nearest rounds to a binary float with the given bits behind the leading one
// and the given least exponent of a normal number.
func nearest(x float64, bits, least int) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	_, exponent := math.Frexp(x) // x = f 2^exponent with f in [1/2, 1)
	ulp := math.Ldexp(1, max(exponent-1, least)-bits)
	return math.RoundToEven(x/ulp) * ulp
}

// F16Bits is the encoding of RoundF16(x).
func F16Bits(x float64) uint16 {
	if math.IsNaN(x) {
		return 0x7e00
	}
	r := RoundF16(x)
	sign := uint16(0)
	if math.Signbit(r) {
		sign = 0x8000
	}
	r = math.Abs(r)
	if r < math.Ldexp(1, -14) { // zero and subnormals count units of 2^-24
		return sign | uint16(math.Ldexp(r, 24))
	}
	_, exponent := math.Frexp(r)
	return sign | uint16(exponent+14)<<10 | uint16(math.Ldexp(r, 11-exponent))&0x3ff
}

// F16 is the number that a float16's bits stand for.
func F16(bits uint16) float64 {
	sign := 1 - 2*float64(bits>>15)
	exponent, fraction := int(bits>>10&31), float64(bits&0x3ff)
	switch {
	case exponent == 31 && fraction != 0:
		return math.NaN()
	case exponent == 31:
		return math.Inf(int(sign))
	case exponent == 0:
		return sign * math.Ldexp(fraction, -24)
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// BF16Bits is the encoding of RoundBF16(x).
func BF16Bits(x float64) uint16 { return uint16(math.Float32bits(float32(RoundBF16(x))) >> 16) }

// BF16 is the number that a bfloat16's bits stand for.
func BF16(bits uint16) float64 { return float64(math.Float32frombits(uint32(bits) << 16)) }

// SiLU is x / (1 + e^-x) (Elfwing et al. 2017).
func SiLU(x float64) float64 { return x / (1 + math.Exp(-x)) }

// dot is the sum of products of two rows of equal length.
func dot(a, b []float32) float64 {
	s := 0.0
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

// untouched is a result in which nothing is written yet.
func untouched(n int) []float64 {
	y := make([]float64, n)
	for i := range y {
		y[i] = math.NaN()
	}
	return y
}
