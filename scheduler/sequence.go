// Package scheduler decides what runs in each step. It knows no GPU: it plans
// batch.Steps for a Runner and commits their Results to the requests' streams.
//
// This is plain first-come batching: requests are admitted in order when the
// cache has room for all they may ever need, decode rows go first, prompts fill
// the rest of a step in chunks.
package scheduler

import (
	"errors"
	"fmt"

	"loquetier/engine/batch"
)

// Runner runs steps: the engine.
type Runner interface {
	Run(*batch.Step) (*batch.Result, error)
	Check(*batch.Span) error // refuses a span that Run would refuse
	CheckUpdate(batch.Update) error
	Context() int     // longest sequence
	MaxRows() int     // most rows of a step
	TrainRows() int   // most training rows among them
	CacheBlocks() int // blocks of the KV cache
}

// Request is a prompt to continue, or only to score.
type Request struct {
	Slot           int     // adapter slot, or batch.Base
	Prompt         []int32 // at least one token
	MaxTokens      int     // to generate; 0 only scores the prompt
	Sampling       batch.Sampling
	Bias           map[int32]float32 // added to these tokens' logits
	Stop           []int32           // tokens that end the output; they are not part of it
	LogProbs       int               // most likely tokens to tell with each token; -1: no log-probabilities
	PromptLogProbs int               // the same for each prompt token given those before it; -1: none
}

// Finish says why a request ended.
type Finish string

// Reasons to end.
const (
	Length Finish = "length"
	Stop   Finish = "stop"
	Failed Finish = "error"
)

// Event is one message of a request's stream. The last one has Finish set;
// the channel is closed after it.
type Event struct {
	Prompt []batch.Pick // scores of the prompt's tokens from the second on, once, where asked for
	Token  *batch.Pick  // a generated token
	Finish Finish
	Err    error // with Failed
}

// ErrNotFinite is the error of a request for which the model computes no number.
var ErrNotFinite = errors.New("the logits are not finite: the weights or the adapter may be damaged, or the compute type too narrow (try --dtype f32)")

// ErrEmptyPrompt is the error of a request without a prompt.
var ErrEmptyPrompt = errors.New("the prompt is empty")

// sequence is an admitted or waiting request.
type sequence struct {
	Request
	events   chan Event
	gone     func() error // why the caller has lost interest, or nil
	blocks   []int32
	computed int     // tokens whose keys and values are in the cache
	output   []int32 // generated so far
	scores   []batch.Pick
	counts   map[int32]int // how often each token is in the output, where penalties need it
	inPrompt map[int32]bool
}

// check refuses what can never run.
func (r *Request) check(run Runner) error {
	n := len(r.Prompt)
	switch {
	case n == 0:
		return ErrEmptyPrompt
	case n > run.Context():
		return fmt.Errorf("the prompt has %d tokens, but the context is %d", n, run.Context())
	case r.MaxTokens < 0:
		return fmt.Errorf("max_tokens %d: it takes 0 or more", r.MaxTokens)
	case r.MaxTokens == 0 && r.PromptLogProbs < 0:
		return errors.New("max_tokens 0 asks for nothing: it takes at least 1 unless prompt_logprobs is wanted")
	}
	if need := blocksFor(r.cells(run)); need > run.CacheBlocks() {
		return fmt.Errorf("the prompt's %d tokens and %d to generate need %d cache blocks, but there are %d", n, r.MaxTokens, need, run.CacheBlocks())
	}
	return nil
}

// probe is a span with all that a request brings, to be checked before it
// runs beside others: the runner refuses a step as a whole.
func (s *sequence) probe() *batch.Span {
	last := len(s.Prompt) - 1
	want := s.next(last)
	want.TopN = max(want.TopN, s.PromptLogProbs)
	return &batch.Span{Kind: batch.Prefill, Slot: s.Slot, Tokens: s.Prompt, Blocks: s.blocks, Wants: []batch.Want{want}}
}

// limit is how many tokens a request may generate: the last one needs no
// place in the context.
func (r *Request) limit(run Runner) int { return min(r.MaxTokens, run.Context()-len(r.Prompt)+1) }

// cells is how many tokens of a request ever lie in the cache.
func (r *Request) cells(run Runner) int { return len(r.Prompt) + max(0, r.limit(run)-1) }

func (s *sequence) token(i int) int32 {
	if i < len(s.Prompt) {
		return s.Prompt[i]
	}
	return s.output[i-len(s.Prompt)]
}

// sampling is what the device needs to choose the next token.
func (s *sequence) sampling() batch.Sampling {
	out := s.Sampling
	out.Step = uint32(len(s.output))
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
