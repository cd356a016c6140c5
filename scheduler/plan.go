package scheduler

import (
	"cmp"
	"slices"

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

// plan picks the rows of the next step: every running sequence's next token,
// then prompts in order, in chunks, then training, up to the runner's rows. Sources are
// asked only where no step is in flight.
func (s *Scheduler) plan() ([]share, []*work) {
	room := s.runner.MaxRows()
	shares := make([]share, 0, len(s.running))
	for _, q := range s.running {
		if q.decodes() && !q.complete(s.runner) && room > 0 {
			shares = append(shares, share{sequence: q, span: q.decode(), stay: q.stays})
			room--
		}
	}
	for _, q := range s.running {
		if !q.decodes() && !q.complete(s.runner) && room > 0 {
			n := min(room, q.length()-q.position())
			shares = append(shares, share{sequence: q, span: q.prefill(n), stay: q.stays})
			room -= n
		}
	}
	var works []*work
	if len(s.flights) == 0 {
		works = s.offers(room)
	}
	for _, w := range works {
		for i, span := range w.spans {
			shares = append(shares, share{work: w, index: i, span: span})
		}
	}
	return sorted(shares), works
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

// decode is the last token, which may be the one that the step in flight chooses.
func (q *sequence) decode() batch.Span {
	at := q.position()
	span := batch.Span{Kind: batch.Decode, Slot: q.Slot, Position: at, Blocks: q.blocks, Wants: []batch.Want{q.next(0)}}
	if at < q.told() {
		span.Tokens = q.tokens(at, at+1)
	} else {
		span.Tokens = []int32{batch.Picked(q.picked)}
	}
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
