package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

func f32Bytes(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func u16Bytes(values ...uint16) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

func converted(dt DType, src []byte, st DType) []byte {
	dst := make([]byte, len(src)/st.Size()*dt.Size())
	Convert(dst, dt, src, st)
	return dst
}

func toU16(dt DType, v float32) uint16 {
	return binary.LittleEndian.Uint16(converted(dt, f32Bytes(v), F32))
}

func toF32(h uint16, st DType) float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(converted(F32, u16Bytes(h), st)))
}

// Every half and every bfloat16 widens to the value its bits mean, and narrows
// back to the same bits.
func TestConvertEvery16BitValue(t *testing.T) {
	for h := range uint32(1 << 16) {
		h := uint16(h)
		half, brain := toF32(h, F16), toF32(h, BF16)
		if float16.Frombits(h).IsNaN() {
			require.True(t, math.IsNaN(float64(half)), "half %#04x", h)
			require.True(t, float16.Frombits(toU16(F16, half)).IsNaN(), "half %#04x", h)
		} else {
			require.Equal(t, math.Float32bits(float16.Frombits(h).Float32()), math.Float32bits(half), "half %#04x", h)
			require.Equal(t, h, toU16(F16, half), "half %#04x", h)
		}
		require.Equal(t, uint32(h)<<16, math.Float32bits(brain), "bfloat16 %#04x", h)
		if brain == brain {
			require.Equal(t, h, toU16(BF16, brain), "bfloat16 %#04x", h)
		} else {
			require.True(t, math.IsNaN(float64(toF32(toU16(BF16, brain), BF16))), "bfloat16 %#04x", h)
		}
	}
}

// Between the two 16-bit types a value goes through float32.
func TestConvertEvery16BitValueAcross(t *testing.T) {
	for h := range uint32(1 << 16) {
		in := u16Bytes(uint16(h))
		require.Equal(t, converted(BF16, converted(F32, in, F16), F32), converted(BF16, in, F16), "half %#04x", h)
		require.Equal(t, converted(F16, converted(F32, in, BF16), F32), converted(F16, in, BF16), "bfloat16 %#04x", h)
	}
}

// nearestEven rounds a finite value to the nearest of the type's values by
// looking at both neighbours, the slow way.
func nearestEven(v float32, dt DType) uint16 {
	magnitude := float64(math.Abs(float64(v)))
	low, high := uint16(0), uint16(0x7c00)
	if dt == BF16 {
		high = 0x7f80
	}
	infinity := high
	value := func(h uint16) float64 {
		if h == infinity { // as if the exponent went on
			return 2 * float64(toF32(h-1<<(map[DType]int{F16: 10, BF16: 7}[dt]), dt))
		}
		return float64(toF32(h, dt))
	}
	for high-low > 1 {
		if mid := low + (high-low)/2; value(mid) <= magnitude {
			low = mid
		} else {
			high = mid
		}
	}
	nearest := low
	if down, up := magnitude-value(low), value(high)-magnitude; up < down || up == down && low%2 == 1 {
		nearest = high
	}
	if math.Signbit(float64(v)) {
		nearest |= 0x8000
	}
	return nearest
}

// Around every value of a 16-bit type, and around every middle of two, narrowing
// takes the nearest, and in the middle the even one.
func TestConvertRoundsToNearestEven(t *testing.T) {
	for dt, count := range map[DType]uint16{F16: 0x7c00, BF16: 0x7f80} {
		for h := uint16(0); h+1 < count; h += 7 {
			a, b := toF32(h, dt), toF32(h+1, dt)
			middle := float32((float64(a) + float64(b)) / 2)
			for _, v := range []float32{a, middle, math.Nextafter32(middle, 0), math.Nextafter32(middle, b), -middle} {
				require.Equal(t, nearestEven(v, dt), toU16(dt, v), "%v of %v", v, dt)
			}
		}
	}
}

func TestConvertRandomBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		v := math.Float32frombits(rng.Uint32())
		if v != v || math.IsInf(float64(v), 0) {
			continue
		}
		require.Equal(t, float16.Fromfloat32(v).Bits(), toU16(F16, v), "%v", v)
	}
	for range 2_000 {
		v := math.Float32frombits(rng.Uint32())
		if v == v && math.Abs(float64(v)) < 3e38 {
			require.Equal(t, nearestEven(v, BF16), toU16(BF16, v), "%v", v)
		}
	}
}

func TestConvertEdges(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		in   float32
		dt   DType
		want uint16
	}{
		{0, F16, 0}, {float32(math.Copysign(0, -1)), F16, 0x8000},
		{65504, F16, 0x7bff}, {65519.996, F16, 0x7bff}, {65520, F16, 0x7c00}, {-65520, F16, 0xfc00}, {1e30, F16, 0x7c00},
		{inf, F16, 0x7c00}, {-inf, F16, 0xfc00},
		{0x1p-14, F16, 0x0400}, {0x1p-24, F16, 0x0001}, {0x1p-25, F16, 0}, {0x1.000002p-25, F16, 1}, {-0x1.8p-24, F16, 0x8002},
		{1 + 0x1p-11, F16, 0x3c00}, {1 + 0x1.8p-10, F16, 0x3c02},
		{0, BF16, 0}, {1, BF16, 0x3f80}, {1 + 0x1p-8, BF16, 0x3f80}, {1 + 0x1.8p-7, BF16, 0x3f82},
		{math.MaxFloat32, BF16, 0x7f80}, {-math.MaxFloat32, BF16, 0xff80}, {inf, BF16, 0x7f80},
		{math.SmallestNonzeroFloat32, BF16, 0},
	} {
		assert.Equal(t, c.want, toU16(c.dt, c.in), "%v to %v", c.in, c.dt)
	}
	// A NaN whose payload is all in the bits that are dropped.
	for _, bits := range []uint32{0x7f800001, 0xff800001, 0x7fffffff} {
		for _, dt := range []DType{F16, BF16} {
			h := toU16(dt, math.Float32frombits(bits))
			assert.True(t, math.IsNaN(float64(toF32(h, dt))), "%#x to %v", bits, dt)
			assert.Equal(t, bits>>31, uint32(h>>15), "the sign of %#x to %v", bits, dt)
		}
	}
}

func TestConvertChunks(t *testing.T) {
	in := f32Bytes(1, 2, 3, -4, 5)
	for _, dt := range []DType{F32, F16, BF16} {
		whole := converted(dt, in, F32)
		parts := append(converted(dt, in[:8], F32), converted(dt, in[8:], F32)...)
		assert.Equal(t, whole, parts)
		assert.Equal(t, in, converted(F32, whole, dt))
		assert.Empty(t, converted(dt, nil, F32))
	}
}

func TestConvertPanicsOnMismatch(t *testing.T) {
	assert.Panics(t, func() { Convert(make([]byte, 4), F32, make([]byte, 4), F16) })
	assert.Panics(t, func() { Convert(make([]byte, 3), F16, make([]byte, 4), F32) })
	assert.Panics(t, func() { Convert(make([]byte, 4), 0, make([]byte, 4), F32) })
}

func TestDType(t *testing.T) {
	for _, d := range []DType{F32, F16, BF16} {
		assert.Equal(t, d, dtypeNamed(d.String()))
	}
	assert.Zero(t, dtypeNamed("none"))
	assert.Zero(t, DType(0).Size())
	assert.Equal(t, "F32 F16 BF16 none", fmt.Sprint(F32, " ", F16, " ", BF16, " ", DType(0)))
}

func BenchmarkConvert(b *testing.B) {
	types := []DType{F32, F16, BF16}
	for _, st := range types {
		for _, dt := range types {
			b.Run(st.String()+"_to_"+dt.String(), func(b *testing.B) {
				const n = 1 << 18
				rng := rand.New(rand.NewPCG(3, 4))
				values := make([]float32, n)
				for i := range values {
					values[i] = float32(rng.NormFloat64()) * 0.02
				}
				src := converted(st, f32Bytes(values...), F32)
				dst := make([]byte, n*dt.Size())
				b.SetBytes(int64(len(src)))
				for b.Loop() {
					Convert(dst, dt, src, st)
				}
			})
		}
	}
}
