package engine_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
)

// broken is an adapter of numbers that are not finite.
func broken(e *engine.Engine) engine.Adapter {
	out, in := engine.QProj.Dims(e.Model())
	tensor := func(shape ...int) weights.Tensor {
		t := weights.Tensor{DType: weights.F32, Shape: shape}
		for range shape[0] * shape[1] {
			t.Data = append(t.Data, 0, 0, 0x80, 0x7f) // infinity
		}
		return t
	}
	return engine.Adapter{Modules: []engine.AdapterModule{{Module: engine.QProj, Rank: 4, Scale: 1, A: tensor(4, in), B: tensor(out, 4)}}}
}

// An adapter whose numbers are not finite spoils no other row of its batch,
// served or in training, even in the same tile.
func TestBrokenAdaptersSpoilNobodyElse(t *testing.T) {
	for _, family := range []string{"software", "gpu"} {
		config := trainConfig()
		config.Family = family
		b := openTiny(t, "llama", config)
		slot := b.engine.Slots() - 1
		require.NoError(t, b.engine.AttachTraining(slot, broken(b.engine)))
		j := b.train(readRecipe(t, "llama", recipes[0]))
		own := j.all()[:1] // an odd number of rows: tiles are mixed
		alone, want := b.gradientOf(j, own), b.runMix([]one{{"qv-r8", 1}})[0]

		bad := j.spans(0)
		for i := range bad {
			bad[i].Slot = slot
		}
		require.Less(t, j.trainee.Slot(), slot)
		requireSameGradient(t, alone, b.gradientOf(j, append(own, bad...)), 1e-5, family)

		b.next = 0
		served := b.prompt("qv-r8", 1)
		spans := []batch.Span{b.prompt("base", 0), b.prompt("base", 1), served, b.prompt("base", 1)}
		spans[0].Slot, spans[3].Slot = slot, slot
		picks := b.run(spans...)
		require.LessOrEqual(t, distance(logitsOf(picks[2]), want), 1e-5)
		last := picks[3][0]
		require.True(t, last.Token < 0 || math.IsNaN(float64(last.LogProb)), "the broken adapter's own rows are spoiled")
	}
}
