package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

func TestEmbed(t *testing.T) {
	for _, weight := range types {
		b := newBench(t, 14)
		for i, width := range []int{4, 12, 60, 192} {
			vocab, rows := []int{7, 133, 513, 7}[i], []int{1, 3, 133, 7}[i]
			w, tokens := b.normal(vocab*width, 1, weight), []int32{int32(vocab - 1)}
			for len(tokens) < rows {
				tokens = append(tokens, b.Int32N(int32(vocab)))
			}
			picks := []int32{b.Int32N(int32(vocab)), 0, -1, int32(vocab), int32(vocab - 1)}
			for i := range rows / 2 {
				tokens[rows-1-i] = ^b.Int32N(int32(len(picks)))
			}
			want := ref.Embed(w, width, tokens, picks)
			x := b.blank(4 * len(want))
			e := engine.Embed{W: b.stored(w, weight), Tokens: b.integers(tokens), Picks: b.integers(picks), X: x.Range, Rows: rows, Width: width, Vocab: vocab}
			for _, tuning := range mapTunings(t) {
				k := kernels(t, tuning, weight, weight)
				b.dispatch(func(rec *vk.Recorder) error { return k.Embed(rec, e) }, x)
				// A copy: every 16-bit number is a float32.
				requireExact(t, want, x.numbers(b, weights.F32), fmt.Sprintf("%v, width %d, workgroup %d", weight, width, tuning.MapWorkgroup))
			}
		}
	}
}

// Every bit pattern of a 16-bit type is read as the number it stands for.
func TestEmbedReadsEveryNumber(t *testing.T) {
	for _, weight := range []weights.DType{weights.F16, weights.BF16} {
		b := newBench(t, 15)
		var bits []byte
		for i := range 1 << 16 {
			bits = append(bits, byte(i), byte(i>>8))
		}
		w, x := b.holding(bits), b.blank(4<<16)
		k := kernels(t, tuning(t, "software"), weight, weight)
		e := engine.Embed{W: w.Range, Tokens: b.integers([]int32{0}), X: x.Range, Rows: 1, Width: 1 << 16, Vocab: 1}
		b.dispatch(func(rec *vk.Recorder) error { return k.Embed(rec, e) }, x)
		requireExact(t, decode(bits, weight), x.numbers(b, weights.F32), weight)
	}
}
