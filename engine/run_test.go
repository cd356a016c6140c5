package engine_test

import (
	"context"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

func TestContextLimits(t *testing.T) {
	b := openTiny(t, "llama", engine.Config{DType: "f32", MaxRows: 512})
	require.Equal(t, 512, b.engine.Context())
	whole := make([]int32, 512)
	for i := range whole {
		whole[i] = int32(3 + i*7%380)
	}
	want := []batch.Want{{Row: 511, Target: -1, Logits: true, Sampling: batch.Greedy()}}
	blocks := b.blocks(512)
	full := b.run(batch.Span{Kind: batch.Prefill, Slot: batch.Base, Tokens: whole, Blocks: blocks, Wants: want})[0]

	// The same prompt with its last token as a decode row, over a long
	// context, which the decode kernel splits.
	last := b.run(batch.Span{
		Kind: batch.Decode, Slot: batch.Base, Position: 511, Tokens: whole[511:], Blocks: blocks,
		Wants: []batch.Want{{Target: -1, Logits: true, Sampling: batch.Greedy()}},
	})[0]
	require.LessOrEqual(t, distance(logitsOf(last), logitsOf(full)), 1e-5)
}

func TestStepChecks(t *testing.T) {
	b := openTiny(t, "llama", engine.Config{DType: "f32", MaxRows: 64})
	good := batch.Span{Kind: batch.Prefill, Slot: batch.Base, Tokens: []int32{1, 2, 3}, Blocks: []int32{0}}
	_, err := b.engine.Run(&batch.Step{Spans: []batch.Span{good}})
	require.NoError(t, err)
	for text, spoil := range map[string]func(*batch.Span){
		"span 0: no tokens":                                     func(s *batch.Span) { s.Tokens = []int32{} },
		"step of 65 rows, but it takes 1 to 64":                 func(s *batch.Span) { s.Tokens = make([]int32, 65) },
		"span 0: token id 384 is outside the vocabulary of 384": func(s *batch.Span) { s.Tokens = []int32{384} },
		"span 0: token id -1 is outside the vocabulary of 384":  func(s *batch.Span) { s.Tokens = []int32{-1} },
		"span 0: positions 510 to 512, but the context is 512":  func(s *batch.Span) { s.Position = 510 },
		"span 0: no adapter in slot 31":                         func(s *batch.Span) { s.Slot = 31 },
		"span 0: no adapter in slot 99":                         func(s *batch.Span) { s.Slot = 99 },
		"span 0: 0 cache blocks for 3 tokens":                   func(s *batch.Span) { s.Blocks = nil },
		"span 0: cache block 256 of 256":                        func(s *batch.Span) { s.Blocks = []int32{256} },
		"span 0: nothing is trained in slot -1":                 func(s *batch.Span) { s.Kind = batch.Train },
		"span 0: logits of row 3 of 3":                          func(s *batch.Span) { s.Wants = []batch.Want{{Row: 3}} },
		"span 0: 21 log-probabilities, but at most 20 are told": func(s *batch.Span) { s.Wants = []batch.Want{{TopN: 21}} },
		"span 0: temperature NaN: it takes 0 to 100": func(s *batch.Span) {
			w := batch.Want{Target: -1, Sampling: batch.Greedy()}
			w.Sampling.Temperature = float32(math.NaN())
			s.Wants = []batch.Want{w}
		},
		"span 0: top_p 0: it takes above 0, at most 1": func(s *batch.Span) { s.Wants = []batch.Want{{Target: -1}} },
	} {
		span := good
		spoil(&span)
		other := good
		spans := []batch.Span{span}
		if strings.HasPrefix(text, "span 0: no tokens") {
			spans = append(spans, other) // a step needs some row
		}
		_, err := b.engine.Run(&batch.Step{Spans: spans})
		require.EqualError(t, err, text)
	}
}

// A model that cannot fit is refused with the numbers before it is loaded.
func TestDoesNotFit(t *testing.T) {
	device, err := engine.OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(t, err)
	defer func() { require.NoError(t, device.Close()) }()
	folder, err := weights.OpenDir(tiny + "/llama/model")
	require.NoError(t, err)
	checkpoint, err := weights.Open(folder)
	require.NoError(t, err)
	defer checkpoint.Close()
	_, err = engine.New(t.Context(), device, checkpoint, engine.Config{CacheBlocks: 1 << 30, Progress: func(int64, int64) { t.Error("loading began") }})
	require.ErrorIs(t, err, vk.ErrOutOfMemory)
	require.Regexp(t, `^out of device memory: the model needs \d+ MiB \(weights 1 MiB, KV cache \d+ MiB, activations \d+ MiB\), but .+ has \d+ MiB free: choose a smaller context, cache or dtype$`, err.Error())
	require.Zero(t, device.Used())

	_, err = engine.New(t.Context(), device, checkpoint, engine.Config{DType: "f8"})
	require.EqualError(t, err, `compute type "f8": known are auto, f32, f16, bf16`)
	_, err = engine.New(t.Context(), device, checkpoint, engine.Config{Family: "tpu"})
	require.EqualError(t, err, `kernel family "tpu": known are [software gpu]`)
}

// Loading ends in the middle when it is told to, and leaves nothing on the device.
func TestLoadingEnds(t *testing.T) {
	device, checkpoint := openDevice(t), made(t, deepConfig)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var last int64
	_, err := engine.New(ctx, device, checkpoint, engine.Config{Progress: func(done, total int64) {
		if last = done; done > total/4 {
			end()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, last, checkpoint.Bytes()/2)
	require.Zero(t, device.Used())
}

// On a real model the narrow types stay within thirty times float32's tolerance
// (bf16, with eight times coarser numbers, within eight times that).
func TestNarrowStories(t *testing.T) {
	logits := func(dtype string) map[string][]float32 {
		e, base := openStories(t, engine.Config{DType: dtype})
		out := map[string][]float32{}
		for _, adapter := range append([]string{""}, storyAdapters...) {
			step := decodeStep(t, e, base, 0, []string{adapter})
			s := &step.Spans[0]
			s.Kind, s.Tokens = batch.Prefill, []int32{1, 523, 538, 263, 443, 16, 429, 303, 263}
			s.Wants[0].Row, s.Wants[0].Logits = len(s.Tokens)-1, true
			result, err := e.Run(step)
			require.NoError(t, err)
			out[adapter] = result.Picks[0][0].Logits
		}
		return out
	}
	want := logits("f32")
	for dtype, tolerance := range map[string]float64{"f16": 3e-3, "bf16": 2.4e-2} {
		for adapter, got := range logits(dtype) {
			d := distance([][]float32{got}, [][]float32{want[adapter]})
			t.Logf("%s, adapter %q: %.1e", dtype, adapter, d)
			require.LessOrEqual(t, d, tolerance, "%s, adapter %q", dtype, adapter)
		}
	}
}

func TestSeeds(t *testing.T) {
	e, base := openStories(t, engine.Config{})
	draw := func(seed uint64, step uint32) int32 {
		s := decodeStep(t, e, base, 0, []string{"", "upper"})
		for i := range s.Spans {
			s.Spans[i].Wants[0].Sampling.Temperature = 1.5
			s.Spans[i].Wants[0].Sampling.Seed = seed
			s.Spans[i].Wants[0].Sampling.Step = step
		}
		result, err := e.Run(s)
		require.NoError(t, err)
		return result.Picks[0][0].Token
	}
	seen := map[int32]bool{}
	for step := range uint32(16) {
		first := draw(42, step)
		require.Equal(t, first, draw(42, step), "the same seed drew another token")
		seen[first] = true
	}
	require.Greater(t, len(seen), 4, "steps draw different numbers")
}

func TestDispatchesPerLayer(t *testing.T) {
	e, base := openStories(t, engine.Config{})
	for adapter, most := range map[string]int{"": 8, "math": 10} {
		_, err := e.Run(decodeStep(t, e, base, 700, []string{adapter}))
		require.NoError(t, err)
		const outside = 4 // embedding, last norm, logits, sampling
		require.LessOrEqual(t, e.Stats().Dispatches-outside, most*e.Model().Layers, "adapter %q", adapter)
	}
}
