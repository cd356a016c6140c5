package scheduler

import (
	"errors"
	"time"
)

// ErrQueueFull is the error of Submit where too many requests wait already;
// what it is wrapped in has the numbers.
var ErrQueueFull = errors.New("too many requests are waiting")

// ErrWaitedTooLong is the error of a request that was not begun in time; what
// it is wrapped in has the numbers.
var ErrWaitedTooLong = errors.New("the request has waited too long")

// Limits say no early, where a late answer is worth nothing. Zero: no limit.
type Limits struct {
	Queue int           // requests that may wait; more are refused by Submit
	Wait  time.Duration // how long one may wait until it is begun; it then ends at the next step's end
}

// Option changes how a scheduler works.
type Option func(*Scheduler)

// WithLimits limits the waiting.
func WithLimits(l Limits) Option { return func(s *Scheduler) { s.limits = l } }
