package scheduler

import (
	"slices"
	"time"
)

// interlude is a function that waits for the space between two steps.
type interlude struct {
	run    func()
	passes bool // between two passes of training, too
}

// ready tells whether an interlude waits for no more than the steps in flight.
func (s *Scheduler) ready(i interlude) bool { return !i.passes || s.pass == nil }

// awaited tells whether somebody waits for the end of the pass that is pending.
func (s *Scheduler) awaited() bool {
	if s.pass == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.between, func(i interlude) bool { return i.passes })
}

// Do runs f between two steps and returns when it has run: the way to attach
// and detach adapters while requests are running. An adapter must not be
// detached while requests use it. It returns ErrClosed, without
// having run f, where the scheduler has stopped.
func (s *Scheduler) Do(f func()) error { return s.do(f, false) }

// DoBetweenPasses is Do between two passes of training: every source has its
// answer then, and no gradient is half computed, so a job's state is whole. Requests run
// on until the pass is over, of which each of their steps then runs a slice at least.
func (s *Scheduler) DoBetweenPasses(f func()) error { return s.do(f, true) }

func (s *Scheduler) do(f func(), passes bool) error {
	return s.call(f, func(run func()) { s.between = append(s.between, interlude{passes: passes, run: run}) })
}

// Beside runs f before the next step is started, and returns when it has run.
// Unlike Do it waits for no step, so that steps may be in flight, and at most one such
// call is run before each: what comes in many small pieces, as an adapter's bytes do,
// delays no step by more than one of them. Where no request runs or could begin, those that
// follow soon go before the same step. It returns ErrClosed as Do does.
func (s *Scheduler) Beside(f func()) error {
	return s.call(f, func(run func()) { s.beside = append(s.beside, run) })
}

// call has the loop run f, which queue puts among what waits, and returns once
// it has.
func (s *Scheduler) call(f func(), queue func(run func())) error {
	done := make(chan struct{})
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	ran := false
	queue(func() {
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

// follow is how long the next of many small pieces is waited for, where nobody is served.
const follow = 5 * time.Millisecond

// aside runs the first of what may be done beside steps, and what follows while nobody is
// served: steps of training alone take so long that one piece before each would be an age.
func (s *Scheduler) aside() {
	for f := s.nextAside(); f != nil; f = s.nextAside() {
		f()
		late := time.After(follow)
		for !s.serves() && !s.follows() {
			select {
			case <-s.wake: // it may be of before
			case <-late:
				return
			}
		}
		if s.serves() {
			return
		}
	}
}

// nextAside is the first of what may be done beside steps; nil: there is nothing.
func (s *Scheduler) nextAside() (f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.beside) > 0 {
		f = s.beside[0]
		s.beside = slices.Delete(s.beside, 0, 1)
	}
	return f
}

// serves tells whether a request runs or could begin.
func (s *Scheduler) serves() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) > 0 || s.waiting.begins()
}

// follows tells whether there is more to be done beside or between steps.
func (s *Scheduler) follows() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.beside)+len(s.between) > 0
}

// interludes runs those that are ready.
func (s *Scheduler) interludes() {
	s.mu.Lock()
	var calls []interlude
	s.between = slices.DeleteFunc(s.between, func(i interlude) bool {
		ready := s.ready(i)
		if ready {
			calls = append(calls, i)
		}
		return ready
	})
	s.mu.Unlock()
	for _, i := range calls {
		i.run()
	}
}
