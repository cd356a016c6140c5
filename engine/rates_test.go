package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
)

func TestRatesAreMeasuredAndGiveTheirMemoryBack(t *testing.T) {
	e, _ := openStories(t, engine.Config{})
	before := e.Used()
	rates, err := e.Rates()
	require.NoError(t, err)
	assert.Positive(t, rates.Copy)
	assert.Positive(t, rates.Matrix)
	assert.Positive(t, rates.Dispatch)
	assert.Less(t, rates.Dispatch, time.Second)
	assert.Equal(t, before, e.Used())
}
