package replay

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// phase is so many requests at a mean rate, a second.
type phase struct {
	requests int
	rate     float64
}

// profile is a load that is made up: Poisson arrivals in phases.
type profile struct {
	name   string
	phases []phase
}

// profiles are those of Loquetier's paper (arXiv 2511.00101).
func profiles() []profile {
	return []profile{
		{"stable", []phase{{120, 1}}},
		{"mutable", []phase{{120, 1}, {150, 2.5}, {240, 2}, {120, 1}}},
	}
}

// ProfileNames lists the names that Profile knows.
func ProfileNames() []string {
	var names []string
	for _, p := range profiles() {
		names = append(names, p.name)
	}
	return names
}

// Profile makes the load of that name, for a model with so long a context: n
// requests, with its phases in proportion, or all of them for 0. The same seed gives the same load.
func Profile(name string, n, context int, seed uint64) (Load, error) {
	for _, p := range profiles() {
		if p.name == name {
			return p.load(n, context, seed), nil
		}
	}
	return Load{}, fmt.Errorf("load %q: known are %s", name, strings.Join(ProfileNames(), ", "))
}

// MeanRate is the requests of a profile a second, over all its phases.
func MeanRate(name string) float64 {
	for _, p := range profiles() {
		if p.name == name {
			return p.meanRate()
		}
	}
	return 0
}

func (p profile) total() int {
	n := 0
	for _, phase := range p.phases {
		n += phase.requests
	}
	return n
}

func (p profile) meanRate() float64 {
	seconds := 0.0
	for _, phase := range p.phases {
		seconds += float64(phase.requests) / phase.rate
	}
	return float64(p.total()) / seconds
}

func (p profile) load(n, context int, seed uint64) Load {
	total := p.total()
	if n == 0 {
		n = total
	}
	random := rand.New(rand.NewPCG(seed, 0))
	out := Load{Name: p.name, Requests: make([]Request, 0, n)}
	at, before := 0.0, 0
	for _, phase := range p.phases {
		before += phase.requests
		for len(out.Requests) < int(math.Round(float64(n)*float64(before)/float64(total))) {
			at += random.ExpFloat64() / phase.rate
			out.Requests = append(out.Requests, drawn(random, time.Duration(at*float64(time.Second)), context))
		}
	}
	return out
}

// Lengths of prompts and outputs: log-normal, about as in ShareGPT's
// conversations, whose means are 161 and 338 tokens (Kwon et al., PagedAttention, 2023, figure 11).
// They are meant for contexts of wholeContext and more and are smaller in proportion for less.
const (
	promptMedian, promptSigma = 90, 1.1
	outputMedian, outputSigma = 250, 0.8
	longestLength             = 1024
	wholeContext              = 4096
)

// Lengths says how long the requests of a profile are.
const Lengths = "log-normal, medians 90 (sigma 1.1) and 250 tokens (sigma 0.8), at most 1024, times context/4096 where that is less than 1"

// drawn is a request of random lengths.
func drawn(random *rand.Rand, at time.Duration, context int) Request {
	scale := min(1, float64(context)/wholeContext)
	length := func(median, sigma float64) int {
		n := min(longestLength, median*math.Exp(sigma*random.NormFloat64()))
		return max(1, int(math.Round(scale*n)))
	}
	r := Request{At: at}
	r.Prompt = length(promptMedian, promptSigma)
	r.Output = length(outputMedian, outputSigma)
	return r
}
