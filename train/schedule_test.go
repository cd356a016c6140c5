package train

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		Schedule
		want []float64
	}{
		{Schedule{Linear, 1, 0, 4}, []float64{1, 0.75, 0.5, 0.25}},
		{Schedule{Linear, 1, 2, 4}, []float64{0.5, 1, 1, 0.5}},
		{Schedule{Linear, 3, 3, 3}, []float64{1, 2, 3}},
		{Schedule{Cosine, 2, 0, 4}, []float64{2, 1 + math.Sqrt(0.5), 1, 1 - math.Sqrt(0.5)}},
		{Schedule{Cosine, 2, 2, 4}, []float64{1, 2, 2, 1}},
		{Schedule{Constant, 2, 2, 4}, []float64{1, 2, 2, 2}},
	} {
		for step, want := range c.want {
			assert.InDelta(t, want, c.At(step), 1e-15, "%+v at %d", c.Schedule, step)
		}
	}
}

// referenceRates checks the learning rates of a reference's log.
func referenceRates(t *testing.T, s Schedule, log []struct{ LR float64 }) {
	t.Helper()
	require.Len(t, log, s.Steps)
	for step, line := range log {
		assert.InEpsilon(t, line.LR, s.At(step), 1e-14)
	}
}

func TestLinearAgreesWithTheReferenceOfStories(t *testing.T) {
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(read(t, "../testdata/golden/stories/reference.json")), &all))
	for name, lr := range map[string]float64{"upper": 0.006, "shakespeare": 0.004, "shakespeare-text": 0.002} {
		var r struct {
			Log []struct{ LR float64 }
		}
		require.NoError(t, json.Unmarshal(all[name], &r))
		referenceRates(t, Schedule{Linear, lr, 10, 300}, r.Log)
	}
}

// reference is a training of the tiny model.
type reference struct {
	Accumulation int
	MicroBatches [][]wireExample `json:"micro_batches"`
	Log          []struct {
		Step    int
		LR      float64
		Targets int `json:"target_tokens"`
	}
}

// A job on the reference's data has its targets and learning rates.
func TestJobsAgreeWithTheReferenceOfTiny(t *testing.T) {
	for _, name := range []string{"train-all-r8", "train-qv-r4-accum2"} {
		var r reference
		require.NoError(t, json.Unmarshal([]byte(read(t, "../testdata/golden/tiny/llama", name, "expected.json")), &r))
		c, d := config(t)
		c.Data, c.Eval = &Dataset{Name: name}, nil
		for _, micro := range r.MicroBatches {
			for _, w := range micro {
				e, err := Reader{Vocabulary: 384}.fromIDs(w)
				require.NoError(t, err)
				c.Data.Examples = append(c.Data.Examples, e)
			}
		}
		c.Settings.MicroBatch, c.Settings.Accumulate, c.Settings.NoShuffle = 3, r.Accumulation, true
		c.Settings.Steps, c.Settings.LR, c.Settings.Warmup = len(r.Log), 0.01, 3
		trained(t, c, d)
		log := logged(t, c.Out)
		require.Len(t, log, len(r.Log))
		for i, want := range r.Log {
			assert.Equal(t, float64(want.Step), log[i]["step"])
			assert.Equal(t, float64(want.Targets), log[i]["targets"])
			assert.InEpsilon(t, want.LR, log[i]["lr"], 1e-14)
		}
	}
}
