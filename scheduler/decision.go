package scheduler

import (
	"math"
	"time"

	"loquetier/engine/batch"
)

// Decision is what was decided of a step, and what came of it. Times are in
// milliseconds.
type Decision struct {
	Time    time.Time `json:"time"` // when it was planned
	Decode  int       `json:"decode"`
	Prefill int       `json:"prefill"`
	Eval    int       `json:"eval"`
	Train   int       `json:"train"`
	Slices  int       `json:"slices"` // of the backward pass that ran
	Updates int       `json:"updates"`

	Limit     Limit   `json:"limit"`
	Predicted float64 `json:"predicted_ms"`
	Bound     float64 `json:"bound_ms"` // that it should hardly exceed
	Target    float64 `json:"target_ms,omitempty"`
	Measured  float64 `json:"measured_ms"`

	Running int     `json:"running"` // requests, when it was planned
	Waiting int     `json:"waiting"`
	Slack   float64 `json:"ttft_slack_ms,omitempty"` // of the first token that is due next; negative: late
	Owed    float64 `json:"owed_ms"`                 // that training has got less than its floor
}

// Limit is what kept a step's training as small as it is.
type Limit string

// Limits of a step's training.
const (
	LimitNothing Limit = "nothing" // it got all that it could use
	LimitTarget  Limit = "target"  // more would make requests wait longer than they should
	LimitFloor   Limit = "floor"   // it has more than the targets leave, as it never falls under its floor
	LimitRows    Limit = "rows"    // the step's rows
	LimitBlocks  Limit = "blocks"  // requests need the cache
)

// WithDecisions calls a function with each step's decision once it has been
// committed, from the scheduler's loop: it must not block.
func WithDecisions(f func(Decision)) Option { return func(s *Scheduler) { s.decided = f } }

// decide is the decision of a planned step.
func (s *Scheduler) decide(f *flight) Decision {
	s.mu.Lock()
	waiting := s.waiting.size
	s.mu.Unlock()
	d := Decision{
		Time: f.started, Slices: f.backward, Updates: len(f.updates), Limit: f.limit,
		Predicted: milliseconds(s.cost.predict(&f.mix)), Bound: milliseconds(s.cost.bound(&f.mix)), Target: milliseconds(f.target),
		Running: len(s.running), Waiting: waiting, Slack: milliseconds(f.slack), Owed: milliseconds(s.floor.owed),
	}
	for i := range f.shares {
		span := &f.shares[i].span
		*d.rows(span.Kind) += len(span.Tokens)
	}
	return d
}

// milliseconds are seconds as decisions tell them: to the microsecond, and 0 for
// what has no limit.
func milliseconds(seconds float64) float64 {
	if math.IsInf(seconds, 0) {
		return 0
	}
	return math.Round(seconds*1e6) / 1e3
}

func (d *Decision) rows(kind batch.Kind) *int {
	return [...]*int{&d.Train, &d.Eval, &d.Prefill, &d.Decode}[kind]
}
