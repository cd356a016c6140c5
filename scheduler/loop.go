package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"loquetier/engine/batch"
)

// ErrClosed is the error of a request that was waiting or running when the
// scheduler stopped.
var ErrClosed = errors.New("the scheduler has stopped")

// Scheduler batches requests. Submit may be called from any goroutine; Run
// is the one loop that drives the runner.
type Scheduler struct {
	runner  Runner
	blocks  *blocks
	running []*sequence
	turn    int // which source is asked for work first
	wake    chan struct{}

	mu      sync.Mutex // guards what follows
	waiting []*sequence
	between []func()
	sources []Source
	closed  bool
}

// New makes a scheduler for a runner.
func New(runner Runner) *Scheduler {
	return &Scheduler{runner: runner, blocks: newBlocks(runner.CacheBlocks()), wake: make(chan struct{}, 1)}
}

// Submit queues a request and returns its stream. What can never run is
// refused at once. When ctx is done the request ends with its error. The channel
// holds all events, so a slow reader delays nobody.
func (s *Scheduler) Submit(ctx context.Context, r Request) (<-chan Event, error) {
	if err := r.check(s.runner); err != nil {
		return nil, err
	}
	q := &sequence{Request: r, gone: ctx.Err, events: make(chan Event, r.limit(s.runner)+2)}
	q.notePrompt()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.waiting = append(s.waiting, q)
	s.rouse()
	return q.events, nil
}

// Do runs f between two steps and returns when it has run: the way to attach
// and detach adapters while requests are running. An adapter must not be
// detached while requests use it. It returns ErrClosed, without
// having run f, where the scheduler has stopped.
func (s *Scheduler) Do(f func()) error {
	done := make(chan struct{})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	ran := false
	s.between = append(s.between, func() {
		defer close(done)
		if !s.closed {
			f()
			ran = true
		}
	})
	s.rouse()
	s.mu.Unlock()
	<-done
	if !ran {
		return ErrClosed
	}
	return nil
}

// rouse wakes the loop.
func (s *Scheduler) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// interlude runs what waits for the space between two steps.
func (s *Scheduler) interlude() {
	s.mu.Lock()
	calls := s.between
	s.between = nil
	s.mu.Unlock()
	for _, f := range calls {
		f()
	}
}

// Run plans, runs and commits steps until ctx is done (it then returns nil)
// or the device is of no more use. Requests that have not ended then fail.
func (s *Scheduler) Run(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			s.shutDown(ErrClosed)
			return nil
		}
		s.interlude()
		s.cancel()
		s.admit()
		if s.idle() {
			select {
			case <-s.wake:
			case <-ctx.Done():
			}
			continue
		}
		if err := s.step(); err != nil {
			s.shutDown(err)
			return err
		}
	}
}

// step runs once over what is running.
func (s *Scheduler) step() error {
	shares, works := s.plan()
	step := batch.Step{Spans: make([]batch.Span, len(shares))}
	for i, sh := range shares {
		step.Spans[i] = sh.span
	}
	for _, w := range works {
		step.Updates = append(step.Updates, w.updates...)
	}
	if len(step.Spans)+len(step.Updates) == 0 {
		return nil // the sources that had nothing to offer have ended
	}
	result, err := s.runner.Run(&step)
	if err != nil {
		for _, w := range works {
			s.release(w)
		}
		return fmt.Errorf("run a step: %w", err)
	}
	s.commit(shares, works, result)
	return nil
}

// idle tells whether there is nothing to do: no request runs and no source is left.
func (s *Scheduler) idle() bool {
	s.dropSources()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) == 0 && len(s.sources) == 0
}

// admit moves waiting requests to running, in order, while the cache has
// room for all they may need: an admitted request always finishes.
func (s *Scheduler) admit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 0 && len(s.running) < s.runner.MaxRows() {
		q := s.waiting[0]
		taken, ok := s.blocks.take(blocksFor(q.cells(s.runner)))
		if !ok {
			return
		}
		q.blocks = taken
		s.waiting = s.waiting[1:]
		s.running = append(s.running, q)
		if err := s.runner.Check(q.probe()); err != nil {
			s.end(q, Event{Finish: Failed, Err: err})
		}
	}
}

// cancel ends the requests whose callers have gone.
func (s *Scheduler) cancel() {
	for _, q := range append([]*sequence(nil), s.running...) {
		if err := q.gone(); err != nil {
			s.end(q, Event{Finish: Failed, Err: err})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.waiting[:0]
	for _, q := range s.waiting {
		if err := q.gone(); err != nil {
			s.end(q, Event{Finish: Failed, Err: err})
		} else {
			kept = append(kept, q)
		}
	}
	s.waiting = kept
}

// shutDown fails everything that has not ended.
func (s *Scheduler) shutDown(err error) {
	for _, q := range append([]*sequence(nil), s.running...) {
		s.end(q, Event{Finish: Failed, Err: err})
	}
	for _, source := range s.close(err) { // outside the lock, as everywhere: a source may call the scheduler
		if !source.Done() {
			source.Fail(err)
		}
	}
}

// close lets nothing more in, fails what waits, and returns the sources that
// were left.
func (s *Scheduler) close(err error) []Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, q := range s.waiting {
		s.end(q, Event{Finish: Failed, Err: err})
	}
	s.waiting = nil
	for _, f := range s.between { // they see closed and only report it
		f()
	}
	s.between = nil
	sources := s.sources
	s.sources = nil
	return sources
}
