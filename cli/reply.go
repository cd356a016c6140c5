package cli

import (
	"encoding/json"
	"math"

	"loquetier/engine/batch"
	"loquetier/scheduler"
)

// reply is the answer to a request as it is written.
type reply struct {
	ID             json.RawMessage  `json:"id"`
	Adapter        *string          `json:"adapter"`
	PromptIDs      []int32          `json:"prompt_ids,omitzero"`
	Tokens         []int32          `json:"tokens,omitzero"` // without the token that ended the output
	Text           *string          `json:"text,omitempty"`
	Finish         scheduler.Finish `json:"finish_reason"`
	Error          string           `json:"error,omitempty"`
	Seed           *uint64          `json:"seed,omitempty"` // where tokens were drawn
	LogProbs       []tokenScore     `json:"logprobs,omitzero"`
	PromptLogProbs []*tokenScore    `json:"prompt_logprobs,omitzero"` // the first is null
}

// tokenScore is a token with its log-probability and the most likely ones
// in its place.
type tokenScore struct {
	Token   int32       `json:"token"`
	LogProb logProb     `json:"logprob"`
	Top     []topChoice `json:"top"`
}

// logProb is a natural log-probability. JSON has no infinity: what has
// probability zero is written as -9999.
type logProb float32

// MarshalJSON writes a number.
func (l logProb) MarshalJSON() ([]byte, error) {
	if v := float64(l); math.IsInf(v, 0) || math.IsNaN(v) {
		l = -9999
	}
	return json.Marshal(float32(l))
}

// topChoice is a token and its log-probability, written as a pair.
type topChoice batch.TokenLogProb

// MarshalJSON writes [token, log-probability].
func (t topChoice) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{t.Token, logProb(t.LogProb)})
}

func scored(p batch.Pick) tokenScore {
	out := tokenScore{Token: p.Token, LogProb: logProb(p.LogProb), Top: make([]topChoice, len(p.Top))}
	for i, t := range p.Top {
		out.Top[i] = topChoice(t)
	}
	return out
}

// promptScores are the scores of a prompt: of its tokens from the second on,
// after null for the first.
func promptScores(picks []batch.Pick) []*tokenScore {
	out := make([]*tokenScore, 1, len(picks)+1)
	for _, p := range picks {
		score := scored(p)
		out = append(out, &score)
	}
	return out
}

// failed is the reply to a request that never ran.
func failed(p prepared, err error) reply {
	return reply{ID: p.id, Adapter: p.adapter, Finish: scheduler.Failed, Error: oneLine(err)}
}
