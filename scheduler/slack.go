package scheduler

import (
	"math"
	"time"

	"loquetier/engine/batch"
)

// slack is the time that could pass before a step whose requests' rows are
// planned, and every request that has no first token yet would still get it in time, in seconds,
// if prompts got all from then on. It is infinite where no first token is due.
func (s *Scheduler) slack(f *flight) float64 {
	slack := math.Inf(1)
	if s.targets.TTFT == 0 {
		return slack
	}
	each, rows := s.promptRow(f), 0
	due := func(q *sequence) {
		until := q.arrived.Add(s.targets.TTFT).Sub(f.started).Seconds()
		slack = min(slack, until-float64(rows)*each)
	}
	planned := f.prompts()
	for _, q := range s.running {
		if q.decodes() || q.complete(s.runner) {
			continue
		}
		rows += q.length() - q.position()
		if len(planned) > 0 && planned[0].sequence == q {
			rows -= len(planned[0].span.Tokens)
			planned = planned[1:]
		}
		if len(q.output)+q.coming == 0 && q.MaxTokens > 0 {
			due(q)
		}
	}
	if q := s.oldest(); q != nil {
		rows += q.told()
		due(q)
	}
	return slack - s.lead(f.started) - s.cost.bound(&f.mix)
}

// prompts are the shares of prompts, before they are sorted.
func (f *flight) prompts() []share { return f.shares[f.decodes:] }

// chunkRows is the number of rows in a step of prompts by which their time is
// estimated.
const chunkRows = 256

// promptRow is the time of a prompt's row in steps that are full of them, beside the
// decode rows of the present one.
func (s *Scheduler) promptRow(f *flight) float64 {
	var x mix
	for i := range f.shares[:f.decodes] {
		x.span(&f.shares[i].span)
	}
	n := min(chunkRows, s.runner.MaxRows())
	x.add(batch.Prefill, 0, n, 0)
	return s.cost.bound(&x) / float64(n)
}

// oldest is the waiting request that came first; nil where none waits. One whose adapter
// is not there yet has no use for what training would leave.
func (s *Scheduler) oldest() *sequence {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.oldest(true)
}

// lead is the time that the steps in flight still take, in seconds.
func (s *Scheduler) lead(now time.Time) float64 {
	if len(s.flights) == 0 {
		return 0
	}
	begun := s.flights[0].started
	if s.landed.After(begun) {
		begun = s.landed
	}
	left := -now.Sub(begun).Seconds()
	for _, f := range s.flights {
		left += s.cost.predict(&f.mix)
	}
	return max(0, left)
}
