package weights

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Convert writes the elements of src, of type st, to dst as type dt. Both are
// little-endian; src must be whole elements and dst must have exactly their
// room, so that a caller may stream a tensor in chunks of any number of
// elements. Values that dt cannot hold are rounded to nearest, ties to even,
// beyond its range to infinity (IEEE 754, section 4.3.1); a NaN stays a NaN.
// The two must not overlap.
func Convert(dst []byte, dt DType, src []byte, st DType) {
	n := elements(src, st)
	if m := elements(dst, dt); m != n {
		panic(fmt.Sprintf("BUG: convert %d elements of %v into room for %d of %v", n, st, m, dt))
	}
	switch {
	case dt == st:
		copy(dst, src)
	case st == F32:
		narrow(dst, src, dt)
	case dt == F32:
		widen(dst, src, st)
	default:
		exchange(dst, src, st)
	}
}

func elements(b []byte, d DType) int {
	if d.Size() == 0 || len(b)%d.Size() != 0 {
		panic(fmt.Sprintf("BUG: %d bytes are not whole elements of type %v", len(b), d))
	}
	return len(b) / d.Size()
}

// narrow converts F32 to the 16-bit type dt. Here and below the loops are
// written out for each type: calling the conversion through a function value
// would take most of the time.
func narrow(dst, src []byte, dt DType) {
	if dt == F16 {
		for ; len(src) >= 4 && len(dst) >= 2; src, dst = src[4:], dst[2:] {
			binary.LittleEndian.PutUint16(dst, f32ToF16(binary.LittleEndian.Uint32(src)))
		}
		return
	}
	for ; len(src) >= 4 && len(dst) >= 2; src, dst = src[4:], dst[2:] {
		binary.LittleEndian.PutUint16(dst, f32ToBF16(binary.LittleEndian.Uint32(src)))
	}
}

// widen converts the 16-bit type st to F32.
func widen(dst, src []byte, st DType) {
	if st == F16 {
		for ; len(src) >= 2 && len(dst) >= 4; src, dst = src[2:], dst[4:] {
			binary.LittleEndian.PutUint32(dst, f16ToF32(binary.LittleEndian.Uint16(src)))
		}
		return
	}
	for ; len(src) >= 2 && len(dst) >= 4; src, dst = src[2:], dst[4:] {
		binary.LittleEndian.PutUint32(dst, uint32(binary.LittleEndian.Uint16(src))<<16)
	}
}

// exchange converts the 16-bit type st to the other 16-bit type. Widening is
// exact, so this rounds once.
func exchange(dst, src []byte, st DType) {
	if st == F16 {
		for ; len(src) >= 2 && len(dst) >= 2; src, dst = src[2:], dst[2:] {
			binary.LittleEndian.PutUint16(dst, f32ToBF16(f16ToF32(binary.LittleEndian.Uint16(src))))
		}
		return
	}
	for ; len(src) >= 2 && len(dst) >= 2; src, dst = src[2:], dst[2:] {
		binary.LittleEndian.PutUint16(dst, f32ToF16(uint32(binary.LittleEndian.Uint16(src))<<16))
	}
}

// f32ToBF16 rounds the binary32 with bits u to nearest even by adding just
// under half of the last kept bit, and that bit itself; the carry runs into the
// exponent and, from the largest finite values, on to infinity. A NaN is made
// quiet, since its payload may lie in the bits that are dropped.
func f32ToBF16(u uint32) uint16 {
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// f32ToF16 rounds the binary32 with bits u to nearest even. Values whose half is
// normal are rounded as in f32ToBF16 after moving the exponent's bias from 127
// to 15. For a subnormal half, whose unit is 2^-24, adding 0.5 lets the
// floating-point addition itself round at that bit.
func f32ToF16(u uint32) uint16 {
	sign := uint16(u >> 16 & 0x8000)
	u &= 0x7fffffff
	switch {
	case u > 0x7f800000: // NaN
		return sign | 0x7e00 | uint16(u>>13&0x1ff)
	case u >= 0x47800000: // 2^16 and beyond, infinity
		return sign | 0x7c00
	case u < 0x38800000: // below 2^-14
		return sign | uint16(math.Float32bits(math.Float32frombits(u)+0.5)-math.Float32bits(0.5))
	}
	return sign | uint16((u-112<<23+0xfff+u>>13&1)>>13)
}

// f16ToF32 is the bits of the binary32 equal to the half h. A subnormal half is
// read as if it had the leading one of the exponent 2^-14, which is then taken
// away again; that is exact.
func f16ToF32(h uint16) uint32 {
	sign, u := uint32(h&0x8000)<<16, uint32(h&0x7fff)<<13
	switch h & 0x7c00 {
	case 0x7c00: // infinity or NaN
		return sign | 0x7f800000 | u
	case 0:
		const least = 113 << 23 // 2^-14
		return sign | math.Float32bits(math.Float32frombits(least|u)-math.Float32frombits(least))
	}
	return sign | (u + 112<<23)
}
