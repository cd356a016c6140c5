package scheduler

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/batch"
)

// inTurn serves requests one after the other, checks that each equals its
// isolated run, and returns the outcomes and how many rows each one took.
func inTurn(t *testing.T, m *sim, requests ...Request) (all []outcome, rows []int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(m)
		sc := scenario{context: m.context, failAt: -1}
		for i, r := range requests {
			require.NoError(t, s.Do(func() { m.versions[r.Slot] = r.Version }))
			before := len(m.steps)
			stream, err := s.Submit(t.Context(), r)
			require.NoError(t, err)
			time.Sleep(time.Second)
			got, err := collect(stream)
			require.NoError(t, err)
			sc.arrivals = append(sc.arrivals, arrival{Request: r})
			require.NoError(t, sc.judge(i, got, nil))
			all, rows = append(all, got), append(rows, 0)
			for _, step := range m.steps[before:] {
				rows[i] += step.Rows()
			}
		}
		require.NoError(t, stop())
		require.NoError(t, m.broken)
		require.NoError(t, atRest(s))
	})
	return all, rows
}

// TestPrefixes: rows that a request takes, after one of 40 tokens that
// generated 10: 49 tokens are in the cache, 48 of them in full blocks.
func TestPrefixes(t *testing.T) {
	first := ask(0, 40, 10)
	generated, _ := inTurn(t, newSim(100, 64, 20), first)
	conversation := slices.Clone(first.Prompt)
	for _, pick := range generated[0].Tokens {
		conversation = append(conversation, pick.Token)
	}
	for _, c := range []struct {
		name   string
		change func(*Request)
		rows   int
	}{
		{"the same", func(*Request) {}, 8},
		{"a full block of prompt", func(r *Request) { r.Prompt = r.Prompt[:32] }, 16},
		{"one token more", func(r *Request) { r.Prompt = r.Prompt[:33] }, 1},
		{"its output", func(r *Request) { r.Prompt = append(conversation, 5, 6) }, 4},
		{"other tokens from the second block on", func(r *Request) { r.Prompt = append(r.Prompt[:20:20], r.Prompt[:20]...) }, 24},
		{"another first token", func(r *Request) { r.Prompt = append([]int32{50}, r.Prompt[1:]...) }, 40},
		{"another slot", func(r *Request) { r.Slot = 1 }, 40},
		{"the base", func(r *Request) { r.Slot = batch.Base }, 40},
		{"another version", func(r *Request) { r.Version = 2 }, 40},
		{"scored", func(r *Request) { r.PromptLogProbs = 0 }, 40},
		{"only scored", func(r *Request) { r.PromptLogProbs, r.MaxTokens = 0, 0 }, 40},
	} {
		second := first.with(func(r *Request) { r.MaxTokens = 1 }).with(c.change)
		_, rows := inTurn(t, newSim(100, 64, 20), first, second)
		assert.Equal(t, []int{49, c.rows}, rows, c.name)
	}
}

// What a version has left in the cache is found again when the version is back.
func TestVersionsDoNotMix(t *testing.T) {
	on := func(version uint64) Request { return ask(0, 40, 1).with(func(r *Request) { r.Version = version }) }
	_, rows := inTurn(t, newSim(100, 64, 20), on(1), on(2), on(1), on(2), on(3))
	assert.Equal(t, []int{40, 40, 8, 8, 40}, rows)
}

// Scored prompts leave their blocks to others.
func TestScoredPromptsAreRemembered(t *testing.T) {
	scored := ask(0, 40, 0).with(func(r *Request) { r.PromptLogProbs = 0 })
	_, rows := inTurn(t, newSim(100, 64, 20), scored, ask(0, 40, 1), scored)
	assert.Equal(t, []int{40, 8, 40}, rows)
}

// Of what is cached the least recently used goes first, and of a sequence its end.
func TestLeastRecentlyUsed(t *testing.T) {
	// Seven blocks; each prompt leaves two full ones in the cache, its third is free again.
	_, rows := inTurn(t, newSim(100, 64, 7),
		ask(0, 40, 1), ask(1, 40, 1), ask(0, 40, 1),
		ask(2, 65, 1), // five: the three that are free, and both of slot 1
		ask(0, 40, 1), ask(1, 40, 1))
	assert.Equal(t, []int{40, 40, 8, 65, 8, 40}, rows)
	_, rows = inTurn(t, newSim(100, 64, 4), ask(0, 40, 1), ask(1, 33, 1), ask(0, 40, 1))
	assert.Equal(t, []int{40, 33, 24}, rows, "the first block is left")
}

// Requests that run together share what is full, and what each of them
// computed itself is kept once.
func TestSharedWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 200, 100)
		s, stop := start(m)
		submit := func(n int) {
			for range n {
				_, err := s.Submit(t.Context(), ask(0, 64, 30))
				require.NoError(t, err)
			}
		}
		require.NoError(t, s.Do(func() { submit(2) }))
		time.Sleep(3*stepTime + stepTime/2)
		assert.Equal(t, Stats{Running: 2, BlocksUsed: 4 + 2, BlocksFree: 94}, s.Stats(), "four blocks are full")
		submit(3)
		time.Sleep(stepTime)
		assert.Equal(t, Stats{Running: 5, PrefixTokens: 3 * 48, BlocksUsed: 4 + 2 + 3, BlocksFree: 91}, s.Stats())
		time.Sleep(time.Second)
		assert.Equal(t, Stats{PrefixTokens: 3 * 48, BlocksCached: 5, BlocksFree: 95}, s.Stats())
		require.NoError(t, stop())
		assert.NoError(t, m.broken)
		for _, block := range m.steps[0].Spans[0].Blocks {
			assert.NotContains(t, m.steps[0].Spans[1].Blocks, block, "a step that was planned stays as it is")
		}
	})
}

// A request that is cancelled leaves the blocks it shares to the others.
func TestSharedWithOneWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 200, 100)
		s, stop := start(m)
		ctx, leave := context.WithCancel(t.Context())
		_, err := s.Submit(ctx, ask(0, 64, 30))
		require.NoError(t, err)
		time.Sleep(2*stepTime + stepTime/2)
		stream, err := s.Submit(t.Context(), ask(0, 64, 30))
		require.NoError(t, err)
		time.Sleep(2 * stepTime)
		leave()
		time.Sleep(time.Second)
		got, err := collect(stream)
		require.NoError(t, err)
		sc := scenario{context: 100, failAt: -1, arrivals: []arrival{{Request: ask(0, 64, 30)}}}
		assert.NoError(t, sc.judge(0, got, nil))
		assert.EqualValues(t, 48, s.Stats().PrefixTokens)
		require.NoError(t, stop())
		assert.NoError(t, m.broken)
		assert.NoError(t, atRest(s))
	})
}
