package scheduler

import (
	"fmt"
	"time"
)

// Targets are how long the one who asked waits. The scheduler keeps them
// before it trains; where the device cannot, it does what it can. Zero: no target.
type Targets struct {
	TTFT time.Duration // time to first token: from Submit on
	ITL  time.Duration // inter-token latency: from a token to the next of its request
}

// DefaultTargets suit a person who reads along. Five tokens a second are four
// words, which is how fast one reads; two seconds are a pause in a conversation.
func DefaultTargets() Targets { return Targets{TTFT: 2 * time.Second, ITL: 200 * time.Millisecond} }

// DefaultFloor is the share of time that training keeps unless told otherwise.
const DefaultFloor = 0.05

// MaxFloor is the largest floor: requests keep the other half.
const MaxFloor = 0.5

// Check refuses targets that mean nothing.
func (t Targets) Check() error {
	switch {
	case t.TTFT < 0:
		return fmt.Errorf("time to first token %v: it takes a duration, or 0 for no target", t.TTFT)
	case t.ITL < 0:
		return fmt.Errorf("inter-token latency %v: it takes a duration, or 0 for no target", t.ITL)
	case t.TTFT > 0 && t.TTFT < t.ITL:
		return fmt.Errorf("the first token in %v is sooner than the next in %v: the first takes a step at least", t.TTFT, t.ITL)
	}
	return nil
}

// CheckFloor refuses shares of time that training cannot keep beside requests.
func CheckFloor(share float64) error {
	if share >= 0 && share <= MaxFloor {
		return nil
	}
	return fmt.Errorf("%v: it takes a share of time from 0 to %v", share, MaxFloor)
}

// WithTargets sets targets, which have been checked. Without them steps are as
// large as they can be, and sources are always asked for as much as a step holds:
// how training is cut then depends on no clock.
func WithTargets(t Targets) Option { return func(s *Scheduler) { s.targets = t } }

// WithFloor sets the share of time that training never falls under while it
// has work, whatever the targets; it has been checked. 0: the targets come first always.
func WithFloor(share float64) Option { return func(s *Scheduler) { s.floor.share = share } }
