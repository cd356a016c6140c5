package engine_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/scheduler"
	"loquetier/virtualmod"
)

// distinct is the least distance of the two most likely tokens at which float32
// chooses the same, however a step's rows are put together.
const distinct = 1e-3

// paced is the engine with something to do before its steps.
type paced struct {
	*engine.Engine
	step   int
	before func(step int)
}

func (p *paced) Start(step *batch.Step) error {
	p.step++
	p.before(p.step)
	return p.Engine.Start(step)
}

// visit is a request that comes before a step and may leave before another.
type visit struct {
	scheduler.Request
	comes, leaves int // leaves 0: stays
}

// told is all that a stream tells.
type told struct {
	scores, tokens []batch.Pick
	end            scheduler.Event
}

func listen(events <-chan scheduler.Event) (all told) {
	for e := range events {
		if e.Prompt != nil {
			all.scores = e.Prompt
		}
		if e.Token != nil {
			all.tokens = append(all.tokens, *e.Token)
		}
		all.end = e
	}
	return all
}

// schedule serves visits, each at its step, and returns what they were told.
// Some request must be running whenever one is still to come.
func schedule(t *testing.T, e *engine.Engine, visits ...visit) ([]told, scheduler.Stats) {
	t.Helper()
	p := &paced{Engine: e}
	s := scheduler.New(p)
	streams := make([]chan (<-chan scheduler.Event), len(visits))
	leave := make([]context.CancelFunc, len(visits))
	for i := range streams {
		streams[i] = make(chan (<-chan scheduler.Event), 1)
	}
	p.before = func(step int) {
		for i, v := range visits {
			if v.comes == step {
				var ctx context.Context
				ctx, leave[i] = context.WithCancel(t.Context())
				events, err := s.Submit(ctx, v.Request)
				require.NoError(t, err)
				streams[i] <- events
			}
			if v.leaves == step && step > 0 {
				leave[i]()
			}
		}
	}
	p.before(0)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	var all []told
	for i := range visits {
		all = append(all, listen(<-streams[i]))
	}
	stop()
	require.NoError(t, <-ran)
	for _, f := range leave {
		f()
	}
	return all, s.Stats() // all is noted: a stream's end is told before
}

// beginnings are sequences of the stories model's own language.
func beginnings(t *testing.T) (all [][]int32) {
	t.Helper()
	data, err := os.ReadFile("../testdata/golden/stories/reference.json")
	require.NoError(t, err)
	var file struct {
		Base []struct {
			PromptIDs []int32 `json:"prompt_ids"`
			Tokens    []int32
		}
	}
	require.NoError(t, json.Unmarshal(data, &file))
	for _, s := range file.Base {
		all = append(all, slices.Concat(s.PromptIDs, s.Tokens))
	}
	return all
}

// visitors come with a few beginnings in common, on all slots.
func visitors(t *testing.T, r *rand.Rand, slots []int, n int) (visits []visit) {
	stems := beginnings(t)[:2]
	for i := range n {
		stem := stems[r.IntN(len(stems))]
		q := scheduler.Request{
			Slot: slots[r.IntN(len(slots))], Prompt: stem[:4+r.IntN(len(stem)-4)], MaxTokens: 4 + r.IntN(30),
			Priority: r.IntN(3), Sampling: batch.Greedy(), LogProbs: 2, PromptLogProbs: -1,
		}
		if i%4 == 1 {
			q.Sampling.Temperature, q.Sampling.TopP, q.Sampling.Seed = 0.8, 0.9, r.Uint64()
		}
		if i%6 == 2 {
			q.PromptLogProbs, q.Sampling.Frequency = 1, 0.5
		}
		v := visit{Request: q, comes: i / 4 * r.IntN(4)}
		if i%8 == 7 {
			v.leaves = v.comes + 1 + r.IntN(30)
		}
		visits = append(visits, v)
	}
	return visits
}

// sure is how many of a request's tokens must be the same in every schedule:
// those up to the first at which two are equally likely.
func sure(v visit, alone []batch.Pick) int {
	for i, pick := range alone {
		if v.Sampling.Temperature == 0 && v.Sampling.Frequency == 0 && pick.Top[0].LogProb-pick.Top[1].LogProb < distinct {
			return i
		}
	}
	return len(alone)
}

func requireAlike(t *testing.T, v visit, alone, got told) {
	t.Helper()
	left := v.leaves > 0 && got.end.Finish == scheduler.Failed
	if left {
		require.ErrorIs(t, got.end.Err, context.Canceled)
	} else {
		require.Equal(t, alone.end.Finish, got.end.Finish)
		require.Len(t, got.scores, len(alone.scores))
	}
	n := sure(v, alone.tokens)
	if left || n < len(alone.tokens) {
		n = min(n, len(got.tokens))
	} else {
		require.Len(t, got.tokens, n)
	}
	for i := range n {
		require.Equal(t, alone.tokens[i].Token, got.tokens[i].Token, "token %d", i)
		require.InDelta(t, alone.tokens[i].LogProb, got.tokens[i].LogProb, distinct)
	}
	for i := range got.scores {
		require.InDelta(t, alone.scores[i].LogProb, got.scores[i].LogProb, distinct)
	}
}

// slotOf brings an adapter onto the device and gives its slot, which it keeps:
// nothing else is acquired.
func slotOf(t *testing.T, base *virtualmod.Base, name string) int {
	t.Helper()
	lease, err := base.Acquire(name)
	require.NoError(t, err)
	lease.Release()
	return lease.Slot()
}

// TestAnyScheduleGivesTheSame: requests that come and go at random, share
// beginnings, and are preempted where the cache is small are answered as alone.
func TestAnyScheduleGivesTheSame(t *testing.T) {
	e, base := openStories(t, engine.Config{DType: "f32", Context: 128, MaxRows: 24, CacheBlocks: 9})
	slots := []int{batch.Base}
	for _, name := range storyAdapters {
		slots = append(slots, slotOf(t, base, name))
	}
	r := rand.New(rand.NewPCG(5, 1))
	visits := visitors(t, r, slots, 16)
	all, stats := schedule(t, e, visits...)
	require.Greater(t, stats.Preempted, uint64(3))
	require.Greater(t, stats.PrefixTokens, uint64(64))
	require.Zero(t, stats.BlocksUsed+stats.Running+stats.Waiting)
	compared := 0
	for i, v := range visits {
		v.comes = 0
		alone, _ := schedule(t, e, visit{Request: v.Request})
		requireAlike(t, v, alone[0], all[i])
		compared += sure(v, alone[0].tokens)
	}
	require.Greater(t, compared, 150)
}

// TestANewVersionFindsNothingOld: another adapter in the same slot, told apart
// by its version only, never sees the first one's cache, and finds its own.
func TestANewVersionFindsNothingOld(t *testing.T) {
	e, base := openStories(t, engine.Config{DType: "f32", Context: 128, CacheBlocks: 40})
	slot := slotOf(t, base, storyAdapters[0])
	request := scheduler.Request{
		Slot: slot, Version: 1, Prompt: beginnings(t)[0][:40], MaxTokens: 20, Sampling: batch.Greedy(), LogProbs: 2, PromptLogProbs: -1,
	}
	before, _ := schedule(t, e, visit{Request: request})
	require.NoError(t, base.Detach(storyAdapters[0]))
	b := &bench{t: t, engine: e, base: base}
	b.attach("again", stories+storyAdapters[1])
	require.Equal(t, slot, slotOf(t, base, "again"))
	want, _ := schedule(t, e, visit{Request: request})
	require.NotEqual(t, before[0].tokens, want[0].tokens)

	s := scheduler.New(e)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	for i, c := range []struct {
		version uint64
		adapter string
		want    told
	}{{1, storyAdapters[0], before[0]}, {2, storyAdapters[1], want[0]}, {1, storyAdapters[0], before[0]}, {2, storyAdapters[1], want[0]}} {
		require.NoError(t, s.Do(func() {
			require.NoError(t, base.Detach("again"))
			b.attach("again", stories+c.adapter)
			require.Equal(t, slot, slotOf(t, base, "again"))
		}))
		request.Version = c.version
		events, err := s.Submit(t.Context(), request)
		require.NoError(t, err)
		requireAlike(t, visit{Request: request}, c.want, listen(events))
		require.EqualValues(t, []int{0, 0, 32, 64}[i], s.Stats().PrefixTokens)
	}
	stop()
	require.NoError(t, <-ran)
}
