package ref

import (
	"math"
	"slices"
)

// Sampling is how a token is chosen from a row of logits.
type Sampling struct {
	Temperature                     float32 // 0: greedy
	TopK                            int     // 0: all
	TopP, MinP                      float32 // 1 and 0: all
	Repetition, Presence, Frequency float32 // 1, 0, 0: none
	Seed                            uint64
	Step                            uint32
	Edits                           []Edit
}

// Edit is a token whose logit is changed before the choice.
type Edit struct {
	Token    int
	Times    int  // it was written
	InPrompt bool // it stood in the prompt
	Bias     float32
}

// Choice is a chosen token and how sure the oracle is of it.
type Choice struct {
	Token  int       // -1 where every logit is NaN
	Kept   []bool    // the tokens that could be drawn
	Chance []float64 // of each token
	// Margin is how near the choice came to another: the smallest distance
	// between a threshold and a logit, between a sum of probabilities and top-p,
	// or between the best two scores. Where it is no larger than a rounding error
	// of float32, another token is as right.
	Margin float64
}

// LogProbabilities is the log-softmax of the logits.
func LogProbabilities(logits []float32) []float64 {
	x := wide(logits)
	top, total := slices.Max(x), 0.0
	for _, l := range x {
		total += math.Exp(l - top)
	}
	for i := range x {
		x[i] -= top + math.Log(total)
	}
	return x
}

// Ranked lists token ids by falling logit; of equal ones the smaller id first.
func Ranked[T float32 | float64](logits []T) []int {
	ids := make([]int, len(logits))
	for i := range ids {
		ids[i] = i
	}
	slices.SortStableFunc(ids, func(a, b int) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	return ids
}

// Choose edits the logits, keeps what top-k (Fan et al. 2018), then top-p
// (Holtzman et al. 2020), then min-p (Nguyen et al. 2024) leave, and draws by
// the Gumbel-max trick. Tokens that tie with the last one kept are kept.
func (s Sampling) Choose(logits []float32) Choice {
	x := s.edited(logits)
	ids := slices.DeleteFunc(Ranked(x), func(i int) bool { return math.IsNaN(x[i]) })
	if len(ids) == 0 {
		return Choice{Token: -1}
	}
	if s.Temperature <= 0 {
		return greedy(x, ids, len(s.Edits) == 0)
	}
	c := Choice{Token: -1, Margin: math.Inf(1)}
	c.keep(x, s.threshold(&c, x, ids))
	c.Chance = softmax(x, c.Kept, float64(s.Temperature))
	best := math.Inf(-1)
	for i, kept := range c.Kept {
		if !kept {
			continue
		}
		score := x[i]/float64(s.Temperature) - math.Log(Exponential(s.Seed, s.Step, uint32(i)))
		c.near(score, best)
		if score > best {
			best, c.Token = score, i
		}
	}
	return c
}

// greedy takes the first of the ranked tokens. Without edits the kernel
// compares the same numbers, so even a tie has one answer.
func greedy(x []float64, ids []int, exact bool) Choice {
	c := Choice{Token: ids[0], Margin: math.Inf(1)}
	c.keep(x, x[ids[0]])
	if !exact && len(ids) > 1 {
		c.near(x[ids[0]], x[ids[1]])
	}
	return c
}

// near notes two numbers whose order decides.
func (c *Choice) near(a, b float64) { c.Margin = min(c.Margin, math.Abs(a-b)) }

func (c *Choice) keep(x []float64, threshold float64) {
	c.Kept = make([]bool, len(x))
	for i, l := range x {
		c.Kept[i] = l >= threshold
	}
}

// edited applies penalties (Keskar et al. 2019 for repetition; presence and
// frequency as in OpenAI's interface) and bias.
func (s Sampling) edited(logits []float32) []float64 {
	x := wide(logits)
	for _, e := range s.Edits {
		l := x[e.Token]
		if e.Times > 0 || e.InPrompt {
			if l > 0 {
				l /= float64(s.Repetition)
			} else {
				l *= float64(s.Repetition)
			}
		}
		if e.Times > 0 {
			l -= float64(s.Presence) + float64(s.Frequency)*float64(e.Times)
		}
		x[e.Token] = l + float64(e.Bias)
	}
	return x
}

// threshold is the smallest logit kept.
func (s Sampling) threshold(c *Choice, x []float64, ids []int) float64 {
	t := x[ids[len(ids)-1]]
	if s.TopK > 0 && s.TopK < len(ids) {
		t = x[ids[s.TopK-1]]
		if x[ids[s.TopK]] != t || len(s.Edits) > 0 {
			c.near(t, x[ids[s.TopK]])
		}
	}
	c.keep(x, t)
	if s.TopP < 1 {
		t = s.nucleus(c, x, ids, t)
	}
	if s.MinP > 0 {
		least := x[ids[0]] + math.Log(float64(s.MinP))*float64(s.Temperature)
		for _, l := range x {
			c.near(l, least)
		}
		t = max(t, least)
	}
	return t
}

// nucleus is the smallest logit of the fewest most likely tokens, of those at
// or above floor, that hold top-p.
func (s Sampling) nucleus(c *Choice, x []float64, ids []int, floor float64) float64 {
	p, sum, last := softmax(x, c.Kept, float64(s.Temperature)), 0.0, floor
	for i, id := range ids {
		if x[id] < floor {
			break
		}
		if i > 0 && x[id] != x[ids[i-1]] { // ties are one step
			c.near(sum, float64(s.TopP))
			if sum >= float64(s.TopP) {
				break
			}
		}
		last, sum = x[id], sum+p[id]
	}
	return last
}

func softmax(x []float64, kept []bool, temperature float64) []float64 {
	top, total := math.Inf(-1), 0.0
	for i, l := range x {
		if kept[i] {
			top = max(top, l)
		}
	}
	p := make([]float64, len(x))
	for i, l := range x {
		if kept[i] {
			p[i] = math.Exp((l - top) / temperature)
			total += p[i]
		}
	}
	for i := range p {
		p[i] /= total
	}
	return p
}

// Exponential is the variate of one token in one step: -log(1 - u) with u the
// first word of Philox 4x32-10 (Salmon et al. 2011) as a number in (0, 1).
func Exponential(seed uint64, step, token uint32) float64 {
	u := (float64(Philox([4]uint32{token, step}, seed)[0]) + 0.5) / (1 << 32)
	return -math.Log1p(-min(u, 1-math.Ldexp(1, -24)))
}

// Philox is Philox 4x32-10 with the key's low word first.
func Philox(c [4]uint32, key uint64) [4]uint32 {
	low, high := uint32(key), uint32(key>>32)
	for range 10 {
		p0, p1 := uint64(c[0])*0xD2511F53, uint64(c[2])*0xCD9E8D57
		c = [4]uint32{uint32(p1>>32) ^ c[1] ^ low, uint32(p1), uint32(p0>>32) ^ c[3] ^ high, uint32(p0)}
		low, high = low+0x9E3779B9, high+0xBB67AE85
	}
	return c
}
