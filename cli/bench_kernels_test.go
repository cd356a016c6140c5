package cli

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// The first run makes kernels ready and does not count.
func TestMedianRun(t *testing.T) {
	times := []time.Duration{1, 50, 30, 90, 40}
	next := 0
	m, err := medianRun(t.Context(), 4, func() (measurement, error) {
		next++
		return measurement{steps: next, wall: times[next-1]}, nil
	})
	require.NoError(t, err)
	assert.Equal(t, measurement{runs: 4, steps: 5, wall: 40}, m, "of an even number the lower one")
	_, err = medianRun(t.Context(), 4, func() (measurement, error) { return measurement{}, errors.New("lost") })
	require.EqualError(t, err, "lost")

	ctx, interrupt := context.WithCancel(t.Context())
	next = 0
	_, err = medianRun(ctx, 4, func() (measurement, error) {
		if next++; next == 2 {
			interrupt()
		}
		return measurement{}, nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 2, next, "the others are not run")
}

func TestKernelsAreKnownByTheirArithmetic(t *testing.T) {
	config, ok := weights.Shape("8b")
	require.True(t, ok)
	r := kernelReport{config: config, rows: 96, rank: 16}
	for _, c := range []struct {
		kernel  string
		flops   float64 // of a call
		product string
	}{
		{"linear-f16-f16", 2 * 96 * (4096 + 2*1024) * 4096, "qkv"},
		{"linear_matrix-f16-f16", 2 * 96 * 4096 * 4096, "o"},
		{"linear-f16-f16", 2 * 96 * 2 * 14336 * 4096, "gate_up"},
		{"linear_grad-f16-f16", 2 * 96 * 4096 * 14336, "down"},
		{"linear-f16-f16", 2 * 3 * 128256 * 4096, "head"},
		{"shrink-f16", 2 * 96 * 16 * 14336, "down"},
		{"shrink_grad-f16", 2 * 96 * 16 * 4096, "o+down"},
		{"lora_grad-f16", 2 * 96 * 16 * (3*4096 + 4096 + 2*1024), "qkv+down"}, // as many numbers in both
		{"attention_prefill-f16", 2 * 96 * 4096 * 4096, ""},
		{"norm-f16", 0, ""},
	} {
		k := engine.KernelTime{Name: c.kernel, Calls: 5, Work: vk.Work{Flops: 5 * c.flops}}
		assert.Equal(t, c.product, r.product(k), c.kernel)
	}
}
