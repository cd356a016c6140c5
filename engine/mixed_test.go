package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// one is a request of a mixed step: a variant and the number of its prompt.
type one struct {
	variant string
	prompt  int
}

// everything is each variant with each prompt: ragged lengths, sorted by slot.
func everything() []one {
	var all []one
	for _, v := range variants {
		for i := range 4 {
			all = append(all, one{v, i})
		}
	}
	return all
}

// The mixes of the mixed-batch test: how adapters are spread over the rows.
var mixes = map[string][]one{
	"everything": everything(),
	// Most rows of one adapter, single rows of others between them.
	"skewed": {{"base", 0}, {"qv-r8", 0}, {"all-r16", 3}, {"all-r16", 2}, {"all-r16", 3}, {"all-r16", 1}, {"odd-r5", 0}, {"dora-r8", 0}},
	// Single rows only: every row another adapter.
	"rows": {{"base", 0}, {"qv-r8", 0}, {"all-r16", 0}, {"mlp-r4-rslora", 0}, {"odd-r5", 0}, {"pattern", 0}, {"dora-r8", 0}},
}

// runMix runs a mix in one step and returns the logits of each request.
func (b *bench) runMix(mix []one) [][][]float32 {
	b.next = 0
	var spans []batch.Span
	for _, o := range mix {
		spans = append(spans, b.prompt(o.variant, o.prompt))
	}
	var out [][][]float32
	for _, picks := range b.run(spans...) {
		out = append(out, logitsOf(picks))
	}
	return out
}

// TestLogits compares every variant with the references, alone and in mixed
// batches, and the mixed batches with the isolated runs.
func TestLogits(t *testing.T) {
	for _, family := range []string{"software", "gpu"} {
		for _, model := range tinyModels {
			t.Run(family+"/"+model, func(t *testing.T) {
				b := openTiny(t, model, engine.Config{DType: "f32", Family: family, MaxRows: 1024})
				alone := map[one][][]float32{}
				for _, o := range everything() {
					alone[o] = b.runMix([]one{o})[0]
					require.LessOrEqual(t, distance(alone[o], b.reference(o.variant, o.prompt)), 1e-4, "%+v alone", o)
				}
				for name, mix := range mixes {
					together := b.runMix(mix)
					for i, o := range mix {
						require.LessOrEqual(t, distance(together[i], alone[o]), 1e-5, "%s: %+v beside others", name, o)
						require.LessOrEqual(t, distance(together[i], b.reference(o.variant, o.prompt)), 1e-4, "%s: %+v", name, o)
					}
				}
			})
		}
	}
}

func TestSameBits(t *testing.T) {
	b := openTiny(t, "qwen3", engine.Config{DType: "f32", MaxRows: 1024})
	first := b.runMix(mixes["everything"])
	for range 3 {
		require.Equal(t, first, b.runMix(mixes["everything"]), "the same step gave other bits: a race")
	}
}

// greedy decodes all requests of a mix together for n steps.
func (b *bench) greedy(mix []one, n int) [][]int32 {
	b.next = 0
	spans := make([]batch.Span, len(mix))
	for i, o := range mix {
		prompt := b.expected.Prompts[o.prompt]
		spans[i] = batch.Span{
			Kind: batch.Prefill, Slot: b.slot(o.variant), Tokens: prompt, Blocks: b.blocks(len(prompt) + n),
			Wants: []batch.Want{{Row: len(prompt) - 1, Target: -1, Sampling: batch.Greedy()}},
		}
	}
	out := make([][]int32, len(mix))
	for range n {
		for i, picks := range b.run(spans...) {
			s := &spans[i]
			out[i] = append(out[i], picks[0].Token)
			s.Position += len(s.Tokens)
			s.Kind, s.Tokens, s.Wants[0].Row = batch.Decode, []int32{picks[0].Token}, 0
		}
	}
	return out
}

func TestGreedyTogether(t *testing.T) {
	for _, model := range tinyModels {
		t.Run(model, func(t *testing.T) {
			b := openTiny(t, model, engine.Config{DType: "f32", MaxRows: 1024})
			mix := everything()
			for i, tokens := range b.greedy(mix, 16) {
				want := b.expected.of(mix[i].variant).Greedy[mix[i].prompt]
				if want.MinGap > 1e-3 {
					require.Equal(t, want.Tokens, tokens, "%+v", mix[i])
				}
			}
		})
	}
}

// narrow are the bounds of the narrow compute types on the tiny models,
// relative to the largest logit. Their random weights amplify rounding: float64
// arithmetic over weights rounded to float16, and nothing else rounded, is
// off by up to 6.6e-3 (qwen2). Real weights do not: see TestNarrowStories.
var narrow = map[string]struct{ worst, mean float64 }{
	"f16":  {1e-2, 3.5e-3},
	"bf16": {8e-2, 2.8e-2},
}

// narrowOnMatrices are the bounds where attention runs on cooperative matrices,
// which multiply queries and probabilities rounded to 16 bits. That alone takes the worst
// case of llama in f16 from 7.4e-3 to 1.13e-2; all other kernels on matrices change little.
var narrowOnMatrices = map[string]struct{ worst, mean float64 }{
	"f16":  {1.2e-2, 3.6e-3},
	"bf16": {8e-2, 2.8e-2},
}

func TestNarrowTypes(t *testing.T) {
	bounds := narrow
	if info := deviceInfo(t); info.Type != vk.CPU && info.MatrixF16 != (vk.Shape{}) {
		bounds = narrowOnMatrices
	}
	for dtype, bound := range bounds {
		for _, model := range tinyModels {
			t.Run(dtype+"/"+model, func(t *testing.T) {
				b := openTiny(t, model, engine.Config{DType: dtype, MaxRows: 1024})
				got := b.runMix(everything())
				sum := 0.0
				for i, o := range everything() {
					d := distance(got[i], b.reference(o.variant, o.prompt))
					require.LessOrEqual(t, d, bound.worst, "%+v", o)
					sum += d
				}
				require.LessOrEqual(t, sum/float64(len(got)), bound.mean, "mean")
				require.Equal(t, got, b.runMix(everything()), "the same step gave other bits")
			})
		}
	}
}

func TestChunkedPrefill(t *testing.T) {
	b := openTiny(t, "llama", engine.Config{DType: "f32"})
	for _, v := range []string{"base", "all-r16"} {
		whole := b.prompt(v, 3)
		want := logitsOf(b.run(whole)[0])
		for _, chunk := range []int{1, 7, 16, 33} {
			span := whole
			var got [][]float32
			for at := 0; at < len(whole.Tokens); at += chunk {
				end := min(at+chunk, len(whole.Tokens))
				span.Position, span.Tokens, span.Wants = at, whole.Tokens[at:end], nil
				for _, w := range whole.Wants {
					if w.Row >= at && w.Row < end {
						w.Row -= at
						span.Wants = append(span.Wants, w)
					}
				}
				got = append(got, logitsOf(b.run(span)[0])...)
			}
			require.LessOrEqual(t, distance(got, want), 1e-5, "%s in chunks of %d", v, chunk)
		}
	}
}

// An adapter that was saved has the same bits in whatever slot it is loaded.
func TestSaveAndLoad(t *testing.T) {
	for _, dtype := range []string{"f32", "f16"} {
		b := openTiny(t, "llama", engine.Config{DType: dtype})
		for _, variant := range []string{"dora-r8", "odd-r5"} {
			span := b.prompt(variant, 2)
			want := logitsOf(b.run(span)[0])
			used := b.engine.Used()
			image, err := b.engine.Save(span.Slot)
			require.NoError(t, err)
			require.NoError(t, b.engine.Detach(span.Slot))
			freed := used - b.engine.Used()
			require.GreaterOrEqual(t, freed, uint64(image.Bytes()))
			for _, to := range []int{b.engine.Slots() - 1, span.Slot} {
				require.NoError(t, b.engine.Load(to, image))
				span.Slot = to
				require.Equal(t, want, logitsOf(b.run(span)[0]), "%s %s in slot %d", dtype, variant, to)
			}
			require.Equal(t, used+freed, b.engine.Used())
			require.ErrorContains(t, b.engine.Load(span.Slot, image), "is taken")
			require.NoError(t, b.engine.Detach(b.engine.Slots()-1))
			_, err = b.engine.Save(b.engine.Slots() - 1)
			require.ErrorContains(t, err, "is free")
		}
	}
}

func TestAttachAndDetach(t *testing.T) {
	b := openTiny(t, "llama", engine.Config{DType: "f32"})
	device := b.engine
	before := device.Used()
	require.NoError(t, b.base.Detach("dora-r8"))
	bytes := before - device.Used()
	b.attach("again", tiny+"/llama/adapters/dora-r8")
	require.Equal(t, before, device.Used(), "an adapter costs its own bytes")
	const parameters = 10154 // of dora-r8, from its tensors' shapes
	require.Less(t, bytes, uint64(2*4*parameters+1<<14))
	span := b.prompt("base", 2)
	span.Slot = b.slot("again")
	require.LessOrEqual(t, distance(logitsOf(b.run(span)[0]), b.reference("dora-r8", 2)), 1e-4)
	_, err := b.base.Acquire("dora-r8")
	require.EqualError(t, err, `unknown adapter "dora-r8": known are again, all-r16, mlp-r4-rslora, odd-r5, pattern, qv-r8`)
}
