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
}

// plan picks the rows of the next step: every running sequence's next token,
// then prompts in order, in chunks, then training, up to the runner's rows.
func (s *Scheduler) plan() ([]share, []*work) {
	room := s.runner.MaxRows()
	shares := make([]share, 0, len(s.running))
	for _, q := range s.running {
		if q.decodes() && room > 0 {
			shares = append(shares, share{sequence: q, span: q.decode()})
			room--
		}
	}
	for _, q := range s.running {
		if !q.decodes() && room > 0 {
			n := min(room, q.known()-q.computed)
			shares = append(shares, share{sequence: q, span: q.prefill(n)})
			room -= n
		}
	}
	works := s.offers(room)
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

func (q *sequence) decode() batch.Span {
	return batch.Span{
		Kind: batch.Decode, Slot: q.Slot, Position: q.computed, Blocks: q.blocks,
		Tokens: q.tokens(q.computed, q.computed+1),
		Wants:  []batch.Want{q.next(0)},
	}
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
		Kind: kind, Slot: q.Slot, Position: q.computed, Blocks: q.blocks,
		Tokens: q.tokens(q.computed, q.computed+n),
	}
	for row := range n {
		at := q.computed + row
		switch {
		case at+1 < len(q.Prompt) && q.PromptLogProbs >= 0 && at >= len(q.scores):
			span.Wants = append(span.Wants, batch.Want{Row: row, Target: q.Prompt[at+1], TopN: q.PromptLogProbs})
		case at+1 == q.known() && q.MaxTokens > 0:
			span.Wants = append(span.Wants, q.next(row))
		}
	}
	return span
}

// next asks for the next token of the output.
func (q *sequence) next(row int) batch.Want {
	return batch.Want{Row: row, Target: -1, TopN: max(0, q.LogProbs), Sampling: q.sampling()}
}
