package replay

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func profileOf(t *testing.T, name string, n, context int, seed uint64) Load {
	t.Helper()
	load, err := Profile(name, n, context, seed)
	require.NoError(t, err)
	return load
}

func TestProfilesAreTheSameForASeed(t *testing.T) {
	a, b := profileOf(t, "mutable", 0, 4096, 1), profileOf(t, "mutable", 0, 4096, 1)
	assert.Equal(t, a, b)
	assert.NotEqual(t, a, profileOf(t, "mutable", 0, 4096, 2))
	assert.Len(t, a.Requests, 630)
	assert.Len(t, profileOf(t, "stable", 0, 4096, 1).Requests, 120)
	_, err := Profile("wild", 0, 4096, 1)
	assert.EqualError(t, err, `load "wild": known are stable, mutable`)
}

// Each phase of mutable has its rate: a Poisson phase of n requests takes n/rate
// give or take sqrt(n)/rate.
func TestPhasesHaveTheirRates(t *testing.T) {
	const scale = 20 // times as many requests, so that chance matters less
	load := profileOf(t, "mutable", scale*630, 4096, 3)
	from, before := time.Duration(0), 0
	for _, p := range []phase{{120, 1}, {150, 2.5}, {240, 2}, {120, 1}} {
		before += scale * p.requests
		until := load.Requests[before-1].At
		assert.InEpsilon(t, p.rate, scale*float64(p.requests)/(until-from).Seconds(), 4/math.Sqrt(scale*float64(p.requests)))
		from = until
	}
	assert.Equal(t, 63, len(profileOf(t, "mutable", 63, 4096, 3).Requests))
	assert.InDelta(t, 1.5, MeanRate("mutable"), 1e-12)
}

func TestLengthsAreThoseOfConversations(t *testing.T) {
	load := profileOf(t, "stable", 20000, 8192, 1)
	prompts, outputs := 0, 0
	for _, r := range load.Requests {
		prompts, outputs = prompts+r.Prompt, outputs+r.Output
		assert.True(t, r.Prompt >= 1 && r.Prompt <= longestLength && r.Output >= 1 && r.Output <= longestLength)
	}
	assert.InEpsilon(t, 161, float64(prompts)/20000, 0.1)
	assert.InEpsilon(t, 338, float64(outputs)/20000, 0.1)
	small := profileOf(t, "stable", 20000, 1024, 1)
	for i, r := range small.Requests {
		assert.InDelta(t, float64(load.Requests[i].Output)/4, r.Output, 1)
	}
}

func TestLoadsAreCutAndHurried(t *testing.T) {
	load := Load{"x", []Request{{0, 10, 1}, {time.Second, 90, 80}, {2 * time.Second, 5, 200}}}
	assert.Len(t, load.Until(2*time.Second).Requests, 2, "the end is not in it")
	assert.Len(t, load.First(1).Requests, 1)
	assert.Len(t, load.First(9).Requests, 3)
	assert.Equal(t, 500*time.Millisecond, load.Faster(4).Length())
	assert.Equal(t, []Request{{0, 10, 1}, {time.Second, 50, 50}, {2 * time.Second, 5, 50}}, load.Fit(100).Requests)
	assert.Equal(t, 2*time.Second, load.Length(), "all of these are copies")
}
