package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
)

// Steps in flight at once answer as those that are waited for one by one.
func TestStepsOverlap(t *testing.T) {
	e, base := openStories(t, engine.Config{})
	var steps []*batch.Step
	for i := range 12 {
		steps = append(steps, decodeStep(t, e, base, i, []string{"", "math", "upper"}))
		for j := range steps[i].Spans {
			steps[i].Spans[j].Wants[0].TopN = i % 3
		}
	}
	steps[3].Spans[0].Wants[0].Logits = true
	var want []*batch.Result
	for _, s := range steps {
		result, err := e.Run(s)
		require.NoError(t, err)
		want = append(want, result)
	}
	var got []*batch.Result
	wait := func() {
		result, err := e.Wait()
		require.NoError(t, err)
		got = append(got, result)
	}
	for i, s := range steps {
		require.NoError(t, e.Start(s))
		if i > 0 {
			wait()
		}
	}
	wait()
	require.Equal(t, want, got)
}

// Tokens that the host has not seen yet are those that it would have given.
func TestPickedTokens(t *testing.T) {
	e, base := openStories(t, engine.Config{})
	adapters := []string{"", "math", "upper"}
	steps := func() (all []*batch.Step) {
		for i := range 20 {
			step := decodeStep(t, e, base, i, adapters)
			for j := range step.Spans {
				w := &step.Spans[j].Wants[0]
				w.TopN, w.Sampling.Temperature, w.Sampling.Seed, w.Sampling.Step = i%3, 1, uint64(j), uint32(i)
			}
			all = append(all, step)
		}
		return all
	}
	var want, got []*batch.Result
	for i, step := range steps() {
		for j := range step.Spans {
			if i > 0 {
				step.Spans[j].Tokens[0] = want[i-1].Picks[j][0].Token
			}
		}
		result, err := e.Run(step)
		require.NoError(t, err)
		want = append(want, result)
	}
	for i, step := range append(steps(), nil) {
		if step != nil {
			for j := range step.Spans {
				if i > 0 {
					step.Spans[j].Tokens[0] = batch.Picked(j)
				}
			}
			require.NoError(t, e.Start(step))
		}
		if i > 0 {
			result, err := e.Wait()
			require.NoError(t, err)
			got = append(got, result)
		}
	}
	require.Equal(t, want, got)
	last := decodeStep(t, e, base, 0, adapters)
	last.Spans[0].Tokens[0] = batch.Picked(0)
	require.EqualError(t, e.Start(last), "span 0: token id -1 is outside the vocabulary of 2048", "no step is in flight")
}

func TestFlight(t *testing.T) {
	e, base := openStories(t, engine.Config{})
	step := decodeStep(t, e, base, 0, []string{""})
	_, err := e.Wait()
	require.EqualError(t, err, "BUG: wait for a step, but none is in flight")
	require.NoError(t, e.Start(step))
	require.NoError(t, e.Start(step))
	require.EqualError(t, e.Start(step), "BUG: start a step while others fill the device's queue")
	_, err = e.Wait()
	require.NoError(t, err)
	_, err = e.Run(step)
	require.EqualError(t, err, "BUG: run a step while others are in flight")
	_, err = e.Wait()
	require.NoError(t, err)
	_, err = e.Run(step)
	require.NoError(t, err)
}

// A sequence that grows uses few recordings: in checking mode each use is
// compared with a recording of the step itself.
func TestRecordingsServeManySteps(t *testing.T) {
	for _, most := range []float64{0, 1e6} { // one submission a step, and several
		e, base := openStories(t, engine.Config{Submission: most})
		once := decodeStep(t, e, base, 0, []string{""})
		once.Spans[0].Wants[0].Logits = true
		_, err := e.Run(once) // makes room for what it keeps
		require.NoError(t, err)
		for position := range 100 {
			_, err := e.Run(decodeStep(t, e, base, position, []string{"", "math"}))
			require.NoError(t, err)
		}
		require.Equal(t, 1, e.Recordings())
		for range 34 {
			_, err := e.Run(once)
			require.NoError(t, err)
		}
		require.Equal(t, 1, e.Recordings(), "steps that serve no other take none from those that do")
		for rows := range 40 {
			_, err := e.Run(decodeStep(t, e, base, 0, make([]string, rows+1)))
			require.NoError(t, err)
		}
		require.LessOrEqual(t, e.Recordings(), 32, "recordings are bounded")
	}
}

// More and more streams, as when requests come faster than they end, find the room that
// the steps before made: a step that makes some waits for those in flight.
func TestMoreStreamsTakeNoMoreMemory(t *testing.T) {
	e, base := openStories(t, engine.Config{})
	var used uint64
	for _, streams := range []int{1, 2, 9, 33, 65, 70} {
		step := decodeStep(t, e, base, 0, make([]string, streams))
		_, err := e.Run(step)
		require.NoError(t, err)
		if streams == 1 {
			used = e.Used()
		}
		require.Equal(t, used, e.Used(), "%d streams", streams)
	}
}
