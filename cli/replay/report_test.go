package replay

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// tokens are times of tokens, the first and those after it at equal steps.
func tokens(first, step time.Duration, n int) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = first + time.Duration(i)*step
	}
	return all
}

// fiveRequests are one that is served well, one whose first token is late, one
// that is slow, one that is dropped, and one that waits for more than six seconds.
func fiveRequests() Run {
	return Run{
		Length: 10 * time.Second, Arriving: 5 * time.Second, Preempted: 2,
		Outcomes: []Outcome{
			{Request: Request{0, 10, 5}, Tokens: tokens(100*ms, 50*ms, 5)},
			{Request: Request{time.Second, 20, 3}, Tokens: tokens(3500*ms, 50*ms, 3)},
			{Request: Request{2 * time.Second, 30, 3}, Tokens: tokens(2100*ms, 400*ms, 3)},
			{Request: Request{3 * time.Second, 40, 2}, Dropped: true},
			{Request: Request{3 * time.Second, 50, 1}, Tokens: tokens(9500*ms, 0, 1)},
		},
		Trained: []Progress{{time.Second, 400}, {4 * time.Second, 600}, {9 * time.Second, 1000}},
	}
}

var targets = Targets{TTFT: 2 * time.Second, ITL: 200 * ms}

func TestSummary(t *testing.T) {
	assert.Equal(t, Summary{
		Requests: 5, Completed: 4, Dropped: 1, Attainment: 0.2, WaitOver6s: 2, GapsWithin: 0.75,
		TTFT: Percentiles{100, 6500, 6500}, ITL: Percentiles{50, 400, 400},
		PrefillRate: 11, DecodeRate: 1.2, RequestRate: 1, Preempted: 2, Seconds: 10,
		TrainRate: 200, TrainAlone: 400, TrainShare: 0.5, ArrivingShare: 0.5,
	}, Summarize(fiveRequests(), targets, 400))
	run := fiveRequests()
	run.Outcomes = append(run.Outcomes, Outcome{Request: Request{9 * time.Second, 60, 99}, Cut: true}, Outcome{Request: Request{8 * time.Second, 60, 99}, Tokens: tokens(9*time.Second, 250*ms, 4), Cut: true})
	run.Trained = run.Trained[:1]
	s := Summarize(run, targets, 400)
	assert.Equal(t, []int{5, 4, 1, 2}, []int{s.Requests, s.Completed, s.Dropped, s.Cut})
	run.Outcomes[0].Cut, run.Outcomes[1].Cut = true, true
	s = Summarize(run, targets, 400)
	assert.Equal(t, []int{4, 2, 2, 3}, []int{s.Requests, s.Completed, s.Dropped, s.Cut}, "what was late already counts, as dropped")
	run.Outcomes[0].Cut, run.Outcomes[1].Cut = false, false
	s = Summarize(run, targets, 400)
	assert.Equal(t, []float64{0.2, 1.6, 0.545455, 0.2}, []float64{s.Attainment, s.DecodeRate, s.GapsWithin, s.ArrivingShare}, "its tokens count")
}

func TestATargetIsMetExactly(t *testing.T) {
	o := Outcome{Request: Request{At: time.Second}, Tokens: tokens(3*time.Second, 200*ms, 4)}
	assert.True(t, targets.met(o))
	o.Tokens[0] += 1
	assert.False(t, targets.met(o), "the first token is late")
	o.Tokens[0] -= 1
	o.Tokens[3] += 3
	assert.False(t, targets.met(o), "the mean of the steps is too long")
	o.Tokens[3] -= 3
	o.Tokens[2] += 100 * ms
	assert.True(t, targets.met(o), "one of them may be")
	o.Dropped = true
	assert.False(t, targets.met(o))
	assert.False(t, targets.met(Outcome{}), "nothing came")
	assert.True(t, targets.met(Outcome{Tokens: []time.Duration{0}}), "a single token has no steps")
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i)*ms)
	}
	assert.Equal(t, Percentiles{100, 180, 198}, percentiles(all))
	assert.Equal(t, Percentiles{7, 7, 7}, percentiles([]time.Duration{7 * ms}))
	assert.Equal(t, Percentiles{}, percentiles(nil))
}

func TestRateIsBetweenFirstAndLast(t *testing.T) {
	assert.InDelta(t, 200, Rate(fiveRequests().Trained), 1e-9)
	assert.Zero(t, Rate([]Progress{{time.Second, 7}}))
	assert.Zero(t, Rate([]Progress{{time.Second, 7}, {time.Second, 7}}), "no time has passed")
}

func TestReportsHaveTheFieldsThatScriptsReadOn(t *testing.T) {
	without := Summarize(fiveRequests(), targets, 0)
	r := Report{Load: "mutable", Speed: 2, Jobs: 1, Summary: Summarize(fiveRequests(), targets, 400), SLO: targets.SLO(), Without: &without}
	var out strings.Builder
	require.NoError(t, r.JSON(&out))
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(out.String()), &fields))
	names := slices.Collect(maps.Keys(fields))
	assert.Subset(t, names, []string{
		"requests", "completed", "dropped", "slo_attainment", "wait_over_6s", "ttft_ms", "itl_ms", "prefill_tokens_per_s", "decode_tokens_per_s",
		"train_tokens_per_s", "train_standalone_tokens_per_s", "train_share", "train_share_arriving", "cut", "slo", "without_training", "load", "speed", "jobs",
	})
	assert.Equal(t, map[string]any{"p50": 100., "p90": 6500., "p99": 6500.}, fields["ttft_ms"])
	assert.Equal(t, "completed, first token within 2s of when it was due, and on average at most 200ms between two tokens", fields["slo"].(map[string]any)["definition"])
	assert.InDelta(t, 0.2, fields["slo_attainment"], 1e-12)
	assert.InDelta(t, 0, fields["without_training"].(map[string]any)["train_share"], 0)
}
