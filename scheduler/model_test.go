package scheduler

import (
	"cmp"
	"math"
	"slices"

	"loquetier/engine/batch"
)

// stir mixes a value into a hash.
func stir(h, v uint64) uint64 {
	h = (h ^ v) * 0x9E3779B97F4A7C15
	return h ^ h>>29
}

// answer is the simulated model: a pick that depends on the version of the
// adapter in the slot, on all tokens of the history and on all that a want asks.
func answer(slot int, version uint64, history []int32, w batch.Want) batch.Pick {
	h := begun(slot, version)
	for _, token := range history {
		h = stir(h, uint64(token))
	}
	if slot == damaged && h%16 == 0 {
		return batch.Pick{Token: -1}
	}
	pick := batch.Pick{Token: w.Target}
	if w.Target < 0 {
		pick.Token = int32(draw(h, w.Sampling) % vocab)
	}
	pick.LogProb = -float32(stir(h, uint64(pick.Token)) % 1000)
	if slot == damaged && h%16 == 1 {
		pick.LogProb = float32(math.NaN())
	}
	for i := range w.TopN {
		pick.Top = append(pick.Top, batch.TokenLogProb{Token: int32(stir(h, uint64(i)) % vocab)})
	}
	return pick
}

// begun is the hash of no tokens. A version is the same in whatever slot.
func begun(slot int, version uint64) uint64 {
	if version > 0 {
		slot = anySlot
	}
	return stir(stir(1, uint64(slot)), version)
}

// draw hashes what sampling depends on, whatever the order of its edits and
// however many of them change nothing.
func draw(h uint64, s batch.Sampling) uint64 {
	h = stir(stir(stir(h, s.Seed), uint64(s.Step)), uint64(math.Float32bits(s.Temperature)))
	edits := slices.SortedFunc(slices.Values(s.Edits), func(a, b batch.Edit) int { return cmp.Compare(a.Token, b.Token) })
	for _, e := range edits {
		inPrompt := e.InPrompt && s.Repetition != 1
		if s.Repetition == 1 && s.Presence == 0 && s.Frequency == 0 {
			e.Count = 0
		}
		if inPrompt || e.Count > 0 || e.Bias != 0 {
			h = stir(stir(stir(h, uint64(e.Token)), uint64(e.Count)), uint64(math.Float32bits(e.Bias)))
		}
		if inPrompt {
			h = stir(h, 1)
		}
	}
	return h
}

// outcome is all that a stream tells.
type outcome struct {
	Prompt []batch.Pick
	Tokens []batch.Pick
	Finish Finish
	Err    error
}

// isolated is the outcome of a request that runs alone, in one piece.
func isolated(r Request, context int) outcome {
	var out outcome
	for i := 1; i < len(r.Prompt) && r.PromptLogProbs >= 0; i++ {
		pick := answer(r.Slot, r.Version, r.Prompt[:i], batch.Want{Target: r.Prompt[i], TopN: r.PromptLogProbs})
		if pick.Token < 0 || pick.LogProb != pick.LogProb {
			return outcome{Finish: Failed, Err: ErrNotFinite}
		}
		out.Prompt = append(out.Prompt, pick)
	}
	history := slices.Clone(r.Prompt)
	for len(out.Tokens) < r.MaxTokens && len(history) <= context {
		pick := answer(r.Slot, r.Version, history, batch.Want{Target: -1, TopN: max(0, r.LogProbs), Sampling: expectedSampling(r, history[len(r.Prompt):])})
		if pick.Token < 0 || pick.LogProb != pick.LogProb {
			out.Finish, out.Err = Failed, ErrNotFinite
			if len(out.Tokens) == 0 {
				out.Prompt = nil // the scores come with the first token
			}
			return out
		}
		if slices.Contains(r.Stop, pick.Token) {
			out.Finish = Stop
			return out
		}
		out.Tokens = append(out.Tokens, pick)
		history = append(history, pick.Token)
	}
	out.Finish = Length
	return out
}

// expectedSampling tells everything of every token; draw knows what matters.
func expectedSampling(r Request, output []int32) batch.Sampling {
	sampling := r.Sampling
	sampling.Step = uint32(len(output))
	for token := range int32(vocab) {
		e := batch.Edit{Token: token, InPrompt: slices.Contains(r.Prompt, token), Bias: r.Bias[token]}
		for _, t := range output {
			if t == token {
				e.Count++
			}
		}
		sampling.Edits = append(sampling.Edits, e)
	}
	return sampling
}
