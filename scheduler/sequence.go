// Package scheduler decides what runs in each step. It knows no GPU: it plans
// batch.Steps for a Runner and commits their Results to the requests' streams.
//
// Each turn of the loop ends requests whose callers have gone, gives the running
// ones the cache blocks of their next tokens, admits waiting ones, and starts a step: decode
// rows first, then prompts in chunks, then training. Then the step before, which ran
// meanwhile, is committed (flight.go). A request is admitted when its
// prompt fits the cache (admit.go); blocks that hold the same beginning on the same
// version of an adapter are shared (prefix.go), and kept after the last request that
// uses them until room is needed (blocks.go). Where the cache runs out the last
// running request in order waits again, and is later computed again from its prompt and
// its output so far, as if nothing had happened. Who waits is admitted by priority,
// then by slots in turn (queue.go).
package scheduler

import (
	"slices"
	"time"

	"loquetier/engine/batch"
)

// Runner runs steps: the engine.
type Runner interface {
	Start(*batch.Step) error      // begins a step behind those begun before, of which one may not have been waited for
	Wait() (*batch.Result, error) // of the oldest step that has not been waited for
	Check(*batch.Span) error      // refuses a span that Start would refuse
	CheckUpdate(batch.Update) error
	Context() int     // longest sequence
	MaxRows() int     // most rows of a step
	TrainRows() int   // most training rows among them
	Slices() int      // of a backward pass
	CacheBlocks() int // blocks of the KV cache
}

// sequence is an admitted or waiting request.
type sequence struct {
	Request
	number   uint64    // in order of arrival
	arrived  time.Time // when it was submitted
	began    time.Time // when its first token came
	spoke    time.Time // and its last
	due      time.Time // arrived, less Aging for each level of priority
	events   chan Event
	gone     func() error  // why the caller has lost interest, or nil
	held     bool          // its adapter is kept in its slot
	unwatch  func() bool   // the caller's leaving
	resumes  bool          // it has run before and was preempted
	output   []int32       // generated so far
	scores   []batch.Pick  // of the prompt so far
	counts   map[int32]int // how often each token is in the output, where penalties need it
	inPrompt map[int32]bool

	blocks     []int32 // of all its tokens, while it runs
	computed   int     // tokens whose keys and values are in the cache
	remembered int     // blocks that are known by their content
	node       uint64  // of the last one of them

	ahead  int // tokens that the steps in flight compute
	coming int // tokens of the output that they choose
	picked int // the want that chooses the last of these, by its number in its step
	stays  int // times that it was preempted: what was planned before is of no use
}

// told is the number of tokens that are known: prompt and output.
func (s *sequence) told() int { return len(s.Prompt) + len(s.output) }

// length is the number of tokens there are once the steps in flight have run.
func (s *sequence) length() int { return s.told() + s.coming }

// position is the first token that no step has computed or is computing.
func (s *sequence) position() int { return s.computed + s.ahead }

// complete tells whether the steps in flight compute all that is asked for,
// if nothing ends it before.
func (s *sequence) complete(run Runner) bool {
	if s.MaxTokens == 0 {
		return s.position() == len(s.Prompt)
	}
	return len(s.output)+s.coming >= s.limit(run)
}

// reusable is how many of its first tokens need not be computed if their keys
// and values are cached: logits are wanted of the last, and of those whose successor
// is still to be scored.
func (s *sequence) reusable() int {
	if s.PromptLogProbs >= 0 && len(s.scores) < len(s.Prompt)-1 {
		return len(s.scores)
	}
	return s.told() - 1
}

// decodes tells whether only the last token of the output is to be computed.
func (s *sequence) decodes() bool { return s.length() > len(s.Prompt) && s.position() == s.length()-1 }

// probe is a span with all that a request brings, to be checked before it
// runs beside others: the runner refuses a step as a whole.
func (s *sequence) probe() *batch.Span {
	last := len(s.Prompt) - 1
	want := s.next(last)
	want.TopN = max(want.TopN, s.PromptLogProbs)
	return &batch.Span{Kind: batch.Prefill, Slot: s.Slot, Tokens: s.Prompt, Blocks: s.blocks, Wants: []batch.Want{want}}
}

// tokens are those of prompt and output from one place up to another.
func (s *sequence) tokens(from, to int) []int32 {
	n := len(s.Prompt)
	switch {
	case to <= n:
		return s.Prompt[from:to:to]
	case from >= n:
		return s.output[from-n : to-n : to-n]
	}
	return slices.Concat(s.Prompt[from:], s.output[:to-n])
}

// sampling is what the device needs to choose the next token.
func (s *sequence) sampling() batch.Sampling {
	out := s.Sampling
	out.Step = uint32(len(s.output) + s.coming)
	out.Edits = s.edits()
	return out
}

func (s *sequence) penalized() bool {
	p := s.Sampling
	return p.Repetition != 1 || p.Presence != 0 || p.Frequency != 0
}

// edits lists the tokens whose logits penalties and bias change.
func (s *sequence) edits() []batch.Edit {
	if !s.penalized() && len(s.Bias) == 0 {
		return nil
	}
	var edits []batch.Edit
	add := func(token int32) {
		edits = append(edits, batch.Edit{Token: token, Count: s.counts[token], InPrompt: s.inPrompt[token], Bias: s.Bias[token]})
	}
	for token := range s.counts {
		add(token)
	}
	for token := range s.inPrompt {
		if s.counts[token] == 0 {
			add(token)
		}
	}
	for token := range s.Bias {
		if s.counts[token] == 0 && !s.inPrompt[token] {
			add(token)
		}
	}
	return edits
}

// count keeps the books of the penalties.
func (s *sequence) count(token int32) {
	if s.penalized() {
		if s.counts == nil {
			s.counts = map[int32]int{}
		}
		s.counts[token]++
	}
}

// notePrompt remembers the prompt's tokens for the repetition penalty.
func (s *sequence) notePrompt() {
	if s.Sampling.Repetition == 1 {
		return
	}
	s.inPrompt = make(map[int32]bool, len(s.Prompt))
	for _, t := range s.Prompt {
		s.inPrompt[t] = true
	}
}
