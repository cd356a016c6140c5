package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
)

// After a rehearsal steps of the usual kinds find their kernels, and say what they
// would have said.
func TestRehearse(t *testing.T) {
	for _, family := range []string{"gpu", "software"} {
		b := openTiny(t, tinyModels[0], engine.Config{DType: "f32", Family: family, MaxRows: 256, TrainRows: 128})
		job := b.train(readRecipe(t, tinyModels[0], recipes[0]))
		progress := 0
		require.NoError(t, b.engine.Rehearse([]int{8, 16}, func(done, total int) {
			progress++
			require.Equal(t, progress, done)
			require.LessOrEqual(t, done, total)
		}))
		ready := b.engine.Pipelines()
		require.Greater(t, progress, 10)

		mix := []one{{variant: "base", prompt: 0}, {variant: variants[1], prompt: 1}, {variant: variants[2], prompt: 0}}
		for i, logits := range b.runMix(mix) {
			require.LessOrEqual(t, distance(logits, b.reference(mix[i].variant, mix[i].prompt)), 1e-4, family)
		}
		b.greedy(mix, 3)
		b.follow(job)
		require.Equal(t, ready, b.engine.Pipelines(), family)

		require.NoError(t, b.engine.Rehearse([]int{8, 16}, func(int, int) { require.Fail(t, "nothing is missing") }))
	}
}
