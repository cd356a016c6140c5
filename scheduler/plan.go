package scheduler

import (
	"cmp"
	"slices"
	"time"

	"loquetier/engine/batch"
)

// share is one span of a planned step, and whose it is: a sequence's, or a
// source's span number index.
type share struct {
	sequence *sequence
	work     *work
	index    int
	span     batch.Span
	stay     int // the sequence's stays when it was planned
}

// plan picks the work of the next step: every running sequence's next token,
// then prompts in order, in chunks, then training; rows up to the runner's, and as much as
// the targets allow.
func (s *Scheduler) plan() *flight {
	f := &flight{started: time.Now(), room: s.runner.MaxRows(), limit: LimitNothing}
	f.shares = make([]share, 0, len(s.running))
	room := newDecodeRoom(len(s.running))
	for _, q := range s.running {
		if q.decodes() && !q.complete(s.runner) && f.room > 0 {
			f.add(q, q.decode(room))
		}
	}
	f.decodes = len(f.shares)
	f.target, f.pace = s.target(f), s.pace(f)
	s.prompts(f)
	f.slack = s.slack(f)
	s.train(f)
	f.shares = sorted(f.shares)
	return f
}

// add puts a sequence's span into a step.
func (f *flight) add(q *sequence, span batch.Span) {
	f.shares = append(f.shares, share{sequence: q, span: span, stay: q.stays})
	f.mix.span(&span)
	f.room -= len(span.Tokens)
}

// prompts plans chunks of prompts in order. The first moves on in any case.
func (s *Scheduler) prompts(f *flight) {
	allowed, careful := s.allowed(f), f.decodes > 0
	least := batch.BlockSize
	for _, q := range s.running {
		if q.decodes() || q.complete(s.runner) {
			continue
		}
		most := min(f.room, q.length()-q.position())
		n := s.cost.fitting(most, allowed, careful, func(n int) mix {
			x := f.mix
			x.add(batch.Prefill, q.position(), n, 0)
			return x
		})
		if n = max(n, min(most, least)); n == 0 {
			break
		}
		f.add(q, q.prefill(n))
		least = 0
	}
}

// sorted are the shares by kind and by slot, otherwise in their order. Their
// numbers are sorted, not they themselves, which are large.
func sorted(shares []share) []share {
	numbers := make([]int, len(shares))
	for i := range numbers {
		numbers[i] = i
	}
	slices.SortFunc(numbers, func(a, b int) int {
		x, y := &shares[a].span, &shares[b].span
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Slot, y.Slot), cmp.Compare(a, b))
	})
	out := make([]share, len(shares))
	for i, n := range numbers {
		out[i] = shares[n]
	}
	return out
}

// decodeRoom is room for the tokens and wants of a step's decode rows, in one
// piece each.
type decodeRoom struct {
	tokens []int32
	wants  []batch.Want
}

func newDecodeRoom(rows int) *decodeRoom {
	return &decodeRoom{make([]int32, 0, rows), make([]batch.Want, 0, rows)}
}

// add puts a row in and returns its place.
func (r *decodeRoom) add(token int32, want batch.Want) ([]int32, []batch.Want) {
	n := len(r.tokens)
	r.tokens, r.wants = append(r.tokens, token), append(r.wants, want)
	return r.tokens[n : n+1 : n+1], r.wants[n : n+1 : n+1]
}

// decode is the last token, which may be the one that the step in flight chooses.
func (q *sequence) decode(room *decodeRoom) batch.Span {
	at, token := q.position(), batch.Picked(q.picked)
	if at < q.told() {
		token = q.tokens(at, at+1)[0]
	}
	span := batch.Span{Kind: batch.Decode, Slot: q.Slot, Position: at, Blocks: q.blocks}
	span.Tokens, span.Wants = room.add(token, q.next(0))
	return span
}

// prefill is the next n tokens of the prompt, and of the output of a sequence
// that was preempted. The row of the last token there is chooses the next one; scored
// prompts want the rows of all tokens whose successors have no score yet.
func (q *sequence) prefill(n int) batch.Span {
	kind := batch.Prefill
	if q.MaxTokens == 0 {
		kind = batch.Eval
	}
	span := batch.Span{
		Kind: kind, Slot: q.Slot, Position: q.position(), Blocks: q.blocks,
		Tokens: q.tokens(q.position(), q.position()+n),
	}
	for row := range n {
		at := span.Position + row
		switch {
		case at+1 < len(q.Prompt) && q.PromptLogProbs >= 0 && at >= len(q.scores):
			span.Wants = append(span.Wants, batch.Want{Row: row, Target: q.Prompt[at+1], TopN: q.PromptLogProbs})
		case at+1 == q.told() && q.MaxTokens > 0:
			span.Wants = append(span.Wants, q.next(row))
		}
	}
	return span
}

// next asks for the next token of the output.
func (q *sequence) next(row int) batch.Want {
	return batch.Want{Row: row, Target: -1, TopN: max(0, q.LogProbs), Sampling: q.sampling()}
}
