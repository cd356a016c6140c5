package ref

import "math"

// Random is count numbers of a mean and a deviation, nearly normal: number i
// is the sum of the eight bytes of two hashes of (seed, i), shifted and scaled.
func Random(count int, seed uint32, mean, deviation float64) []float64 {
	x := make([]float64, count)
	for i := range x {
		a := pcg(pcg(uint32(i)) ^ seed)
		sum := 0
		for _, word := range []uint32{a, pcg(a ^ 0x9e3779b9)} {
			for ; word > 0; word >>= 8 {
				sum += int(word & 0xff)
			}
		}
		// A byte's variance is (256^2 - 1) / 12, and its mean 255 / 2.
		x[i] = mean + deviation*(float64(sum)-8*127.5)/math.Sqrt(8*65535.0/12)
	}
	return x
}

// pcg is PCG RXS-M-XS of 32 bits (O'Neill 2014) as a hash.
func pcg(v uint32) uint32 {
	state := v*747796405 + 2891336453
	word := (state>>(state>>28+4) ^ state) * 277803737
	return word>>22 ^ word
}
