package shaders_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

// guard is the number of poisoned bytes behind every buffer: read, they turn a
// result into NaN; written, they are found.
const guard = 64

// bench is one test's memory on the device and its source of numbers.
type bench struct {
	*testing.T
	*rand.Rand
	what string // the case at hand, for messages
}

func newBench(t *testing.T, seed uint64) *bench {
	return &bench{T: t, Rand: rand.New(rand.NewPCG(seed, 0))}
}

// normal draws n numbers of the given standard deviation as a type stores them.
func (b *bench) normal(n int, deviation float64, dt weights.DType) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(b.NormFloat64() * deviation)
	}
	return rounded(x, dt)
}

// rounded are the numbers as they are after being stored.
func rounded(x []float32, dt weights.DType) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		switch dt {
		case weights.F16:
			y[i] = float32(ref.RoundF16(float64(v)))
		case weights.BF16:
			y[i] = float32(ref.RoundBF16(float64(v)))
		default:
			y[i] = v
		}
	}
	return y
}

// encode is the stored form of numbers.
func encode(x []float32, dt weights.DType) []byte {
	var out []byte
	for _, v := range x {
		switch dt {
		case weights.F16:
			out = binary.NativeEndian.AppendUint16(out, ref.F16Bits(float64(v)))
		case weights.BF16:
			out = binary.NativeEndian.AppendUint16(out, ref.BF16Bits(float64(v)))
		default:
			out = binary.NativeEndian.AppendUint32(out, math.Float32bits(v))
		}
	}
	return out
}

// decode is the inverse of encode.
func decode(data []byte, dt weights.DType) []float64 {
	out := make([]float64, len(data)/dt.Size())
	for i := range out {
		switch dt {
		case weights.F16:
			out[i] = ref.F16(binary.NativeEndian.Uint16(data[2*i:]))
		case weights.BF16:
			out[i] = ref.BF16(binary.NativeEndian.Uint16(data[2*i:]))
		default:
			out[i] = float64(math.Float32frombits(binary.NativeEndian.Uint32(data[4*i:])))
		}
	}
	return out
}

// output is a buffer that a kernel writes.
type output struct {
	vk.Range
	buffer  vk.Buffer
	initial []byte // with the guard
}

// blank is an output of size bytes in which all bits are set: NaN, or -1.
func (b *bench) blank(size int) *output { return b.holding(bytes.Repeat([]byte{0xff}, size)) }

// holding is an output that starts with the given bytes.
func (b *bench) holding(data []byte) *output {
	initial := append(bytes.Clone(data), bytes.Repeat([]byte{0xff}, guard)...)
	buffer, err := device.Alloc(vk.Local, uint64(len(initial)))
	require.NoError(b, err)
	b.Cleanup(func() { device.Free(buffer) })
	o := &output{Range: buffer.Span(0, uint64(len(data))), buffer: buffer, initial: initial}
	o.reset(b)
	return o
}

func (o *output) reset(b *bench) {
	require.NoError(b, device.Write(o.buffer, 0, o.buffer.Size, func(dst []byte, at uint64) error {
		copy(dst, o.initial[at:])
		return nil
	}))
}

// content is what the buffer holds now, its guard checked.
func (o *output) content(b *bench) []byte {
	data := make([]byte, o.buffer.Size)
	require.NoError(b, device.Read(o.buffer, 0, data))
	require.Equal(b, o.initial[o.Size:], data[o.Size:], "written behind the end")
	return data[:o.Size]
}

func (o *output) numbers(b *bench, dt weights.DType) []float64 { return decode(o.content(b), dt) }

// integers are the words of the buffer.
func (o *output) integers(b *bench) []int32 {
	data := o.content(b)
	out := make([]int32, len(data)/4)
	for i := range out {
		out[i] = int32(binary.NativeEndian.Uint32(data[4*i:]))
	}
	return out
}

// stored puts numbers on the device in a type.
func (b *bench) stored(x []float32, dt weights.DType) vk.Range { return b.holding(encode(x, dt)).Range }

// integers puts words on the device.
func (b *bench) integers(x []int32) vk.Range { return b.holding(vk.Bytes(x)).Range }

// requireSame demands that a run leaves the bits that the first one left.
func (b *bench) requireSame(first, now []byte, run, output int) {
	b.Helper()
	const word = 4
	differ, shown := 0, ""
	for at := 0; at+word <= len(now); at += word {
		was, is := binary.NativeEndian.Uint32(first[at:]), binary.NativeEndian.Uint32(now[at:])
		if was == is {
			continue
		}
		if differ++; differ <= 8 {
			shown += fmt.Sprintf("\nword %d: %#08x (%g) was %#08x (%g)", at/word, is, math.Float32frombits(is), was, math.Float32frombits(was))
		}
	}
	if !bytes.Equal(first, now) {
		require.Fail(b, fmt.Sprintf("%s: run %d of the same op gives another output %d: %d of %d words differ%s", b.what, run, output, differ, len(now)/word, shown))
	}
}

// dispatch runs a recorded op three times from the same start, and demands
// the same bits each time: what differs is a race.
func (b *bench) dispatch(record func(*vk.Recorder) error, outputs ...*output) {
	b.Helper()
	var first [][]byte
	for run := range 3 {
		for _, o := range outputs {
			o.reset(b)
		}
		rec := device.NewRecorder(true)
		require.NoError(b, record(rec))
		require.NoError(b, rec.Run())
		timings, err := rec.Timings()
		require.NoError(b, err)
		for _, timing := range timings {
			ran[timing.Name] = true
		}
		var now [][]byte
		for _, o := range outputs {
			now = append(now, o.content(b))
		}
		if first == nil {
			first = now
		}
		for i := range now {
			b.requireSame(first[i], now[i], run, i)
		}
	}
}
