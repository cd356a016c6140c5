package engine_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// Training steps of 1024 rows of a model of 8 billion parameters fit 24 GB with
// every layer's activations kept.
func TestPlanOfTrainingALargeModel(t *testing.T) {
	device, err := engine.OpenDevice("")
	require.NoError(t, err)
	defer device.Close()
	shape, ok := weights.Shape("8b")
	require.True(t, ok)
	m, err := engine.Plan(device, weights.NewRandom(shape, weights.BF16), engine.Config{
		DType: "bf16", Context: 1024, CacheBlocks: 64, TrainRows: 1024, MaxRows: 1024, Recompute: engine.RecomputeNever,
	})
	require.NoError(t, err)
	t.Logf("%+v", m)
	assert.Equal(t, 32, m.KeptLayers)
	const adapter, logits = 420e6, 450e6 // of rank 8 with its training state; what a GPU adds for 512 rows' logits
	assert.Less(t, float64(m.Total())+adapter+logits, 24e9)
}
