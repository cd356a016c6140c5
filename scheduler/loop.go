package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed is the error of a request that was waiting or running when the
// scheduler stopped.
var ErrClosed = errors.New("the scheduler has stopped")

// Scheduler batches requests. Submit may be called from any goroutine; Run
// is the one loop that drives the runner.
type Scheduler struct {
	runner    Runner
	limits    Limits
	targets   Targets
	floor     floor
	cost      Cost           // of steps
	decided   func(Decision) // nil: nobody listens
	blocks    *blocks
	running   []*sequence // in order: the last is preempted first
	flights   []*flight   // the oldest first
	preempted uint64      // times
	reused    uint64      // tokens
	landed    time.Time   // when a step was last waited for
	totals    Totals
	pass      *pass   // the training that has begun; nil: none
	passed    int     // passes in a row that the source whose turn it is has no part in
	apart     apart   // how passes begin
	hungry    bool    // training is owed time, but finds no room
	keys      float64 // that a training row read on average in the last pass
	wake      chan struct{}
	departed  atomic.Bool // a caller has gone since it was last looked

	mu       sync.Mutex // guards what follows
	waiting  queue
	accepted uint64 // requests
	between  []interlude
	beside   []func()
	sources  []*contender
	turn     float64 // the start of the source that was served first the last time
	stats    Stats
	known    Cost   // what Cost returns
	told     Totals // what Totals returns
	closed   bool
}

// New makes a scheduler for a runner.
func New(runner Runner, options ...Option) *Scheduler {
	s := &Scheduler{runner: runner, blocks: newBlocks(runner.CacheBlocks()), waiting: newQueue(), wake: make(chan struct{}, 1), cost: NewCost(), floor: floor{share: DefaultFloor}}
	for _, option := range options {
		option(s)
	}
	s.record()
	return s
}

// Submit queues a request and returns its stream. What can never run is
// refused at once, and with ErrQueueFull what would make the queue too long. When ctx
// is done the request ends with its error. The channel holds all events, so a slow reader
// delays nobody.
func (s *Scheduler) Submit(ctx context.Context, r Request) (<-chan Event, error) {
	if err := r.check(s.runner); err != nil {
		return nil, err
	}
	q := &sequence{Request: r, gone: ctx.Err, events: make(chan Event, r.limit(s.runner)+2), arrived: time.Now()}
	q.due = q.arrived.Add(-time.Duration(r.Priority) * Aging)
	q.notePrompt()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if n := s.waiting.size; s.limits.Queue > 0 && n >= s.limits.Queue {
		return nil, fmt.Errorf("%w: %d, the limit is %d", ErrQueueFull, n, s.limits.Queue)
	}
	s.accepted++
	q.number = s.accepted
	s.waiting.push(q)
	q.unwatch = context.AfterFunc(ctx, s.depart)
	s.rouse()
	return q.events, nil
}

// depart notes that a caller has gone, once its request is in the queue.
func (s *Scheduler) depart() {
	s.departed.Store(true)
	s.rouse()
}

// rouse wakes the loop.
func (s *Scheduler) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run plans, runs and commits steps until ctx is done (it then returns nil)
// or the device is of no more use. Requests that have not ended then fail.
func (s *Scheduler) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.round(ctx); err != nil {
			s.shutDown(err)
			return err
		}
	}
	err := s.land(0)
	s.shutDown(cmp.Or(err, ErrClosed))
	return err
}

// round is a turn of the loop: it starts a step and commits the one before it.
// Where there is nothing to do it waits until there is, or ctx is done.
func (s *Scheduler) round(ctx context.Context) error {
	if !s.overlaps() {
		if err := s.land(0); err != nil {
			return err
		}
	}
	if len(s.flights) == 0 {
		s.interludes()
	}
	s.aside()
	s.cancel()
	s.grow() // before others are let in, who would be the first to be preempted
	s.admit()
	s.record()
	if !s.idle() {
		return s.step()
	}
	select {
	case <-s.wake:
	case <-s.patience():
	case <-ctx.Done():
	}
	return nil
}

// idle tells whether there is nothing to do: no step, pass or request runs, no source is
// left, and nobody waits for the loop.
func (s *Scheduler) idle() bool {
	s.dropSources()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flights) == 0 && len(s.running) == 0 && s.pass == nil && len(s.sources)+len(s.between)+len(s.beside) == 0
}

// shutDown fails everything that has not ended.
func (s *Scheduler) shutDown(err error) {
	s.abandon()
	for _, q := range slices.Clone(s.running) {
		s.end(q, Event{Finish: Failed, Err: err})
	}
	for _, source := range s.close(err) { // outside the lock, as everywhere: a source may call the scheduler
		if !source.Done() {
			source.Fail(err)
		}
	}
	s.record()
}

// close lets nothing more in, fails what waits, and returns the sources that
// were left.
func (s *Scheduler) close(err error) []*contender {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.waiting.drop(func(q *sequence) bool {
		s.end(q, Event{Finish: Failed, Err: err})
		return true
	})
	for _, i := range s.between { // they see closed and only report it
		i.run()
	}
	for _, f := range s.beside {
		f()
	}
	s.between, s.beside = nil, nil
	sources := s.sources
	s.sources = nil
	return sources
}
