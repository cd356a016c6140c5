// Package batch is the language between the scheduler and the engine: plain
// data, immutable once planned. A Step is rows (tokens) of any mix of kinds; the
// engine runs it in one submission and answers with a Result.
package batch

// Kind is what a span's rows are for.
type Kind uint8

// Kinds, in the order in which a step lays them out.
const (
	Train Kind = iota
	Eval
	Prefill
	Decode
)

func (k Kind) String() string { return [...]string{"train", "eval", "prefill", "decode"}[k] }

// Base is the slot of rows without an adapter.
const Base = -1

// BlockSize is the number of tokens in a block of the KV cache.
const BlockSize = 16

// Step is the work of one submission. Spans are laid out by kind, and inside a
// kind by slot, so that rows of one adapter are neighbours.
//
// Train spans begin a backward pass of as many slices as the model has layers, from
// the last one down. It is run by the Backward of that step and of the steps after it, and is
// pending until its last slice has run; the gradients are complete then. Until then no
// other Train spans may come, no Update of its slots but in the step that runs the last
// slice, and the spans' cache blocks stay theirs.
type Step struct {
	Spans    []Span
	Backward int      // slices of the pending backward pass to run, behind the spans; more than there are are nothing
	Updates  []Update // of the weights of training slots, after that
}

// All is for a step that runs all the slices that are left.
const All = 1 << 30

// Rows is the number of tokens in the step.
func (s *Step) Rows() int {
	n := 0
	for _, span := range s.Spans {
		n += len(span.Tokens)
	}
	return n
}

// Span is the share of one sequence in a step: consecutive tokens that are
// appended to its cache and attend to everything before them. A Train span is a
// whole sequence of at least two tokens on a training slot: each of its wants
// scores a target, whose negative log-probability counts in the gradient of the
// slot's adapter. Gradients are sums over targets; they add up over steps until an Update.
type Span struct {
	Kind     Kind
	Slot     int     // adapter slot, or Base
	Tokens   []int32 // at least one; see Picked
	Position int     // of the first token in its sequence
	Blocks   []int32 // the sequence's cache blocks, in order; at least those up to the last token
	Wants    []Want  // rows whose logits are needed
}

// Picked stands among a span's tokens for one that is not known yet: what want
// number i of the step before chooses, counted over all its spans. That step must still
// be in flight. Where it finds no number to choose by, any token is taken.
func Picked(i int) int32 { return ^int32(i) }

// PickOf is the number of the want that a token stands for; ok is false for a
// token that is known.
func PickOf(token int32) (i int, ok bool) { return int(^token), token < 0 }

// Want asks for the logits of one row to be turned into a token.
type Want struct {
	Row      int   // index into the span's tokens
	Target   int32 // score this token; -1 to choose one
	TopN     int   // most likely tokens to tell beside it
	Sampling Sampling
	Logits   bool // also return the raw logits (for tests and evaluation)
}

// Sampling says how a token is chosen. The zero value is not usable: start
// from Greedy.
type Sampling struct {
	Temperature float32 // 0 is greedy
	TopK        int     // 0 keeps all
	TopP        float32 // 1 keeps all
	MinP        float32 // 0 keeps all
	Repetition  float32 // 1 changes nothing
	Presence    float32 // 0 changes nothing
	Frequency   float32 // 0 changes nothing
	Seed        uint64
	Step        uint32 // the token's index in its output: each draws its own number
	Edits       []Edit // tokens whose logits change; each token at most once
}

// Greedy chooses the most likely token.
func Greedy() Sampling { return Sampling{TopP: 1, Repetition: 1} }

// Edit is what penalties and bias need to know of one token.
type Edit struct {
	Token    int32
	Count    int     // times in the output so far
	InPrompt bool    // counts for the repetition penalty
	Bias     float32 // added to the logit
}

// Optimizer is a rule for updates.
type Optimizer uint8

// Optimizers. Weight decay is decoupled in both (Loshchilov and Hutter 2019).
const (
	AdamW Optimizer = iota
	SGD             // without momentum
)

// Update is one optimizer step of a training slot's adapter by the gradient
// gathered since the last one, which it clears. Where the gradient is not finite
// the weights and moments stay as they were.
type Update struct {
	Slot         int
	Targets      int // the loss is the mean over that many targets; at least 1
	Optimizer    Optimizer
	Step         int // from 1: AdamW's bias correction counts updates
	LR           float64
	Beta1, Beta2 float64
	Eps          float64
	WeightDecay  float64
	Clip         float64 // largest global norm of the gradient; 0: any
}

// Result answers a step: for each span, a pick for each of its wants, and for
// each update the global norm of the mean's gradient before clipping: not finite
// where the update was left out.
type Result struct {
	Picks [][]Pick
	Norms []float64
}

// Pick is a chosen or scored token. Where the model computes no number, Token
// is -1 or LogProb is NaN.
type Pick struct {
	Token   int32
	LogProb float32 // natural, of the raw logits
	Top     []TokenLogProb
	Logits  []float32 // only where asked for
}

// TokenLogProb is a token with its log-probability.
type TokenLogProb struct {
	Token   int32
	LogProb float32
}
