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

// ask is a request for a number of greedy tokens, without log-probabilities.
func ask(slot, prompt, maxTokens int) Request {
	r := Request{Slot: slot, MaxTokens: maxTokens, Sampling: batch.Greedy(), LogProbs: -1, PromptLogProbs: -1}
	for i := range prompt {
		r.Prompt = append(r.Prompt, int32(i*7%vocab))
	}
	return r
}

// with changes a request.
func (r Request) with(change func(*Request)) Request {
	change(&r)
	return r
}

// serve runs requests that arrive together and returns their outcomes, after
// it has checked that each equals its isolated run.
func serve(t *testing.T, m *sim, requests ...Request) []outcome {
	t.Helper()
	got := make([]outcome, len(requests))
	synctest.Test(t, func(t *testing.T) {
		sc := scenario{context: m.context, failAt: -1}
		s := New(m)
		streams := make([]<-chan Event, len(requests))
		for i, r := range requests {
			var err error
			streams[i], err = s.Submit(t.Context(), r)
			require.NoError(t, err)
			sc.arrivals = append(sc.arrivals, arrival{Request: r})
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		require.NoError(t, s.Run(ctx))
		require.NoError(t, atRest(s))
		for i, stream := range streams {
			var err error
			got[i], err = collect(stream)
			require.NoError(t, err)
			require.NoError(t, sc.judge(i, got[i], nil))
		}
	})
	return got
}

func TestRequestShapes(t *testing.T) {
	const eval = 1000 // marks steps that only score
	scored := func(r *Request) { r.PromptLogProbs = 1 }
	for _, c := range []struct {
		name           string
		maxRows        int
		request        Request
		scores, tokens int   // of the outcome
		steps          []int // tokens of each step's one span, negative where it decodes
	}{
		{"prompt of one token", 16, ask(0, 1, 3), 0, 3, []int{1, -1, -1}},
		{"prompt of one token, scored", 16, ask(0, 1, 2).with(scored), 0, 2, []int{1, -1}},
		{"prompt that fills the context", 64, ask(0, 40, 9), 0, 1, []int{40}},
		{"output that fills the context", 64, ask(0, 38, 9), 0, 3, []int{38, -1, -1}},
		{"chunked prompt", 16, ask(0, 36, 2), 0, 2, []int{16, 16, 4, -1}},
		{"chunked prompt, scored", 16, ask(0, 36, 2).with(scored), 35, 2, []int{16, 16, 4, -1}},
		{"chunks of one row", 1, ask(batch.Base, 3, 2).with(scored), 2, 2, []int{1, 1, 1, -1}},
		{"only scored", 64, ask(0, 20, 0).with(scored), 19, 0, []int{eval + 20}},
		{"only scored, chunked", 9, ask(0, 20, 0).with(scored), 19, 0, []int{eval + 9, eval + 9, eval + 2}},
		{"only scored, one token", 9, ask(0, 1, 0).with(scored), 0, 0, []int{eval + 1}},
		{"only scored, fills the context", 64, ask(0, 40, 0).with(scored), 39, 0, []int{eval + 40}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newSim(40, c.maxRows, 3)
			got := serve(t, m, c.request)[0]
			assert.Equal(t, Length, got.Finish)
			assert.Len(t, got.Prompt, c.scores)
			assert.Len(t, got.Tokens, c.tokens)
			var steps []int
			for _, step := range m.steps {
				require.Len(t, step.Spans, 1)
				n := len(step.Spans[0].Tokens)
				switch step.Spans[0].Kind {
				case batch.Decode:
					n = -n
				case batch.Eval:
					n += eval
				}
				steps = append(steps, n)
			}
			assert.Equal(t, c.steps, steps)
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		request Request
		message string
	}{
		{ask(0, 0, 1), "the prompt is empty"},
		{ask(0, 41, 1), "the prompt has 41 tokens, but the context is 40"},
		{ask(0, 1, -1), "max_tokens -1"},
		{ask(0, 1, 0), "max_tokens 0 asks for nothing"},
		{ask(0, 1, 1).with(func(r *Request) { r.Priority = 1001 }), "priority 1001: it takes -1000 to 1000"},
		{ask(0, 1, 1).with(func(r *Request) { r.Priority = -1001 }), "priority -1001: it takes -1000 to 1000"},
		{ask(0, 33, 1), "need 3 cache blocks, but there are 2"},
		{ask(0, 16, 1<<62), "need 3 cache blocks, but there are 2"},
	} {
		_, err := New(newSim(40, 8, 2)).Submit(t.Context(), c.request)
		assert.ErrorContains(t, err, c.message)
	}
	_, err := New(newSim(40, 8, 2)).Submit(t.Context(), ask(0, 16, 17))
	assert.NoError(t, err, "the last token needs no cell")
}

func TestStop(t *testing.T) {
	r := ask(1, 5, 8)
	whole := serve(t, newSim(40, 8, 3), r)[0].Tokens
	require.Len(t, whole, 8)
	for _, at := range []int{0, 3, 7} {
		stop := whole[at].Token
		first := slices.IndexFunc(whole, func(p batch.Pick) bool { return p.Token == stop })
		got := serve(t, newSim(40, 8, 3), r.with(func(r *Request) { r.Stop = []int32{-5, stop}; r.PromptLogProbs = 0 }))[0]
		assert.Equal(t, Stop, got.Finish)
		assert.Equal(t, whole[:first], append([]batch.Pick{}, got.Tokens...), "the stop token is not part of the output")
		assert.Len(t, got.Prompt, 4, "the scores come even where no token does")
	}
}

func TestEdits(t *testing.T) {
	penalties := batch.Sampling{TopP: 1, Repetition: 1.2, Presence: 0.5, Frequency: 0.25}
	r := ask(0, 4, 20).with(func(r *Request) { // prompt 0 7 14 21
		r.Sampling, r.Bias = penalties, map[int32]float32{7: 2, 90: -1}
	})
	m := newSim(40, 8, 3)
	got := serve(t, m, r)[0]
	require.Len(t, got.Tokens, 20)
	require.Len(t, m.steps, 20)
	counts := map[int32]int{}
	for i, step := range m.steps {
		want := map[int32]batch.Edit{}
		for _, token := range []int32{0, 7, 14, 21, 90} {
			want[token] = batch.Edit{Token: token, Bias: r.Bias[token], InPrompt: token != 90}
		}
		for token, n := range counts {
			e := want[token]
			e.Token, e.Count = token, n
			want[token] = e
		}
		sampling := step.Spans[0].Wants[0].Sampling
		assert.ElementsMatch(t, edits(want), sampling.Edits, "step %d", i)
		assert.EqualValues(t, i, sampling.Step)
		counts[got.Tokens[i].Token]++
	}

	plain := newSim(40, 8, 3)
	serve(t, plain, ask(0, 4, 2))
	assert.Empty(t, plain.steps[1].Spans[0].Wants[0].Sampling.Edits, "without penalties and bias")
}

func edits(of map[int32]batch.Edit) []batch.Edit {
	var all []batch.Edit
	for _, e := range of {
		all = append(all, e)
	}
	return all
}

// TestNotFinite: a damaged adapter fails its own requests, with the tokens it
// had, and none of those beside them.
func TestNotFinite(t *testing.T) {
	var requests []Request
	for i := range 16 {
		requests = append(requests, ask([]int{0, damaged}[i%2], 1+i, 20).with(func(r *Request) { r.PromptLogProbs = i%3 - 1 }))
	}
	failed, partial := 0, 0
	for i, got := range serve(t, newSim(40, 20, 30), requests...) {
		if requests[i].Slot != damaged {
			assert.Equal(t, Length, got.Finish)
		} else if got.Finish == Failed {
			require.ErrorIs(t, got.Err, ErrNotFinite)
			failed++
			partial += min(1, len(got.Tokens))
		}
	}
	assert.Greater(t, failed, partial, "some fail at their prompt")
	assert.Positive(t, partial, "some fail later")
}

// TestDecodeFirst: a long prompt fills what the running outputs leave of a
// step, and holds none of them up.
func TestDecodeFirst(t *testing.T) {
	m := newSim(200, 5, 40)
	serve(t, m, ask(0, 2, 30), ask(1, 3, 30), ask(0, 100, 3))
	for i, step := range m.steps[1:30] {
		var kinds []batch.Kind
		for _, span := range step.Spans {
			kinds = append(kinds, span.Kind)
		}
		assert.Equal(t, []batch.Kind{batch.Prefill, batch.Decode, batch.Decode}, kinds, "step %d", i)
		assert.Equal(t, 5, step.Rows())
	}
}

// started lists the slots of the spans that begin a sequence, in order.
func started(m *sim) (slots []int) {
	for _, step := range m.steps {
		for _, span := range step.Spans {
			if span.Position == 0 {
				slots = append(slots, span.Slot)
			}
		}
	}
	return slots
}

// TestFirstCome: what would fit waits behind what came before it and does not.
func TestFirstCome(t *testing.T) {
	m := newSim(60, 8, 4)
	serve(t, m, ask(0, 40, 5), ask(1, 40, 5), ask(2, 1, 1))
	assert.Equal(t, []int{0, 1, 2}, started(m))
}

// What the runner refuses fails alone: the requests beside it go on.
func TestRunnerRefusesOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newSim(64, 8, 16))
		bad, err := s.Submit(t.Context(), ask(unusableSlot, 3, 4))
		require.NoError(t, err)
		good, err := s.Submit(t.Context(), ask(0, 3, 4))
		require.NoError(t, err)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		require.NoError(t, s.Run(ctx))
		refused, err := collect(bad)
		require.NoError(t, err)
		assert.ErrorIs(t, refused.Err, errUnusable)
		served, err := collect(good)
		require.NoError(t, err)
		assert.Equal(t, Length, served.Finish)
		require.NoError(t, atRest(s))
	})
}
