package engine_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// planOf8B is the plan of training the 8b shape in steps of 1024 training rows.
func planOf8B(t *testing.T, maxRows int) engine.Memory {
	t.Helper()
	device, err := engine.OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(t, err)
	defer device.Close()
	shape, ok := weights.Shape("8b")
	require.True(t, ok)
	m, err := engine.Plan(device, weights.NewRandom(shape, weights.BF16), engine.Config{
		DType: "bf16", Context: 1024, CacheBlocks: 64, TrainRows: 1024, MaxRows: maxRows, Recompute: engine.RecomputeNever,
	})
	require.NoError(t, err)
	t.Logf("%+v", m)
	return m
}

// Rows that serve beside the training rows are not kept for the backward pass: they
// take room once, not in every layer.
func TestPlanKeepsTrainingRowsAlone(t *testing.T) {
	const layers, gateUp = 32, 2 * 2 * 14336
	alone, shared := planOf8B(t, 1024), planOf8B(t, 3072)
	assert.Zero(t, alone.KeptBeside)
	assert.Equal(t, alone.Kept, layers*alone.KeptEach)
	assert.Equal(t, alone.KeptEach, shared.KeptEach)
	assert.Equal(t, shared.Kept-alone.Kept, shared.KeptBeside)
	assert.Greater(t, shared.KeptBeside, int64(2048*gateUp))
	assert.Less(t, shared.KeptBeside, int64(2048*2*gateUp))
}

// Training steps of 1024 rows of a model of 8 billion parameters fit 24 GB with
// every layer's activations kept.
func TestPlanOfTrainingALargeModel(t *testing.T) {
	m := planOf8B(t, 1024)
	assert.Equal(t, 32, m.KeptLayers)
	const adapter, logits = 420e6, 450e6 // of rank 8 with its training state; what a GPU adds for 512 rows' logits
	assert.Less(t, float64(m.Total())+adapter+logits, 24e9)
}
