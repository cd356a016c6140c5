package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
)

// Logits of few rows of a step, for which alone the last layer is computed, are
// those of the same rows of a step in which every row's are wanted.
func TestFewWantedRows(t *testing.T) {
	each := map[string]func(behind int) bool{
		"the last": func(behind int) bool { return behind == 0 }, "every third": func(behind int) bool { return behind%3 == 0 },
	}
	for i, model := range tinyModels {
		family := []string{"gpu", "software"}[i%2]
		b, mix := openTiny(t, model, engine.Config{DType: "f32", Family: family, MaxRows: 1024}), mixes["everything"]
		all := b.wanting(mix, func(int) bool { return true })
		for name, wanted := range each {
			for i, few := range b.wanting(mix, wanted) {
				var want [][]float32
				for row := range all[i] {
					if wanted(len(all[i]) - 1 - row) {
						want = append(want, all[i][row])
					}
				}
				require.Len(t, few, len(want))
				require.LessOrEqual(t, distance(few, want), 1e-5, "%s, %s, %s: %+v", family, model, name, mix[i])
			}
		}
	}
}

// wanting runs a mix and returns the logits of the rows of each request that are
// wanted, by their distance from its last row.
func (b *bench) wanting(mix []one, wanted func(behind int) bool) [][][]float32 {
	b.next = 0
	var spans []batch.Span
	for _, o := range mix {
		s := b.prompt(o.variant, o.prompt)
		s.Wants = nil
		for row := range s.Tokens {
			if wanted(len(s.Tokens) - 1 - row) {
				s.Wants = append(s.Wants, batch.Want{Row: row, Target: -1, Logits: true, Sampling: batch.Greedy()})
			}
		}
		spans = append(spans, s)
	}
	var out [][][]float32
	for _, picks := range b.run(spans...) {
		out = append(out, logitsOf(picks))
	}
	return out
}

// A prompt may come in pieces of which the first ones want nothing.
func TestNothingWanted(t *testing.T) {
	for _, family := range []string{"software", "gpu"} {
		b := openTiny(t, "llama", engine.Config{DType: "f32", Family: family, MaxRows: 1024})
		for _, variant := range []string{"base", "all-r16"} {
			whole := b.prompt(variant, 2)
			want := logitsOf(b.run(whole)[0])
			n := len(whole.Tokens)
			require.Greater(t, n, 12+16)
			first, rest := whole, whole
			first.Tokens, first.Wants = whole.Tokens[:n-12], nil
			rest.Position, rest.Tokens, rest.Wants = n-12, whole.Tokens[n-12:], nil
			for _, w := range whole.Wants {
				w.Row -= n - 12
				rest.Wants = append(rest.Wants, w)
			}
			require.Empty(t, b.run(first)[0])
			require.LessOrEqual(t, distance(logitsOf(b.run(rest)[0]), want), 1e-5, fmt.Sprint(family, variant))
		}
	}
}
