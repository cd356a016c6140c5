package scheduler

import (
	"errors"
	"fmt"

	"loquetier/engine/batch"
)

// Request is a prompt to continue, or only to score.
type Request struct {
	Slot    int     // adapter slot, or batch.Base
	Version uint64  // of the adapter in its slot: cached prefixes are shared only within one version
	Adapter Adapter // where not nil it gives Slot and Version when the request is begun

	// Priority decides who is admitted first and who is preempted last: higher
	// first, from -MaxPriority to MaxPriority. A request is treated as one of
	// priority 0 that came Priority times Aging earlier.
	Priority int

	Prompt         []int32 // at least one token
	MaxTokens      int     // to generate; 0 only scores the prompt
	Sampling       batch.Sampling
	Bias           map[int32]float32 // added to these tokens' logits
	Stop           []int32           // tokens that end the output; they are not part of it
	LogProbs       int               // most likely tokens to tell with each token; -1: no log-probabilities
	PromptLogProbs int               // the same for each prompt token given those before it; -1: none
}

// MaxPriority is the highest priority, and -MaxPriority the lowest.
const MaxPriority = 1000

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
	case r.Priority < -MaxPriority || r.Priority > MaxPriority:
		return fmt.Errorf("priority %d: it takes %d to %d", r.Priority, -MaxPriority, MaxPriority)
	case r.MaxTokens == 0 && r.PromptLogProbs < 0:
		return errors.New("max_tokens 0 asks for nothing: it takes at least 1 unless prompt_logprobs is wanted")
	}
	if need := blocksFor(r.cells(run)); need > run.CacheBlocks() {
		return fmt.Errorf("the prompt's %d tokens and %d to generate need %d cache blocks, but there are %d", n, r.MaxTokens, need, run.CacheBlocks())
	}
	return nil
}

// limit is how many tokens a request may generate: the last one needs no
// place in the context.
func (r *Request) limit(run Runner) int { return min(r.MaxTokens, run.Context()-len(r.Prompt)+1) }

// cells is how many tokens of a request ever lie in the cache.
func (r *Request) cells(run Runner) int { return len(r.Prompt) + max(0, r.limit(run)-1) }
