package scheduler

import (
	"fmt"
	"slices"
	"time"

	"loquetier/engine/batch"
)

// admit moves waiting requests to running, in the queue's order, while the
// cache has room for their prompts; what they generate takes blocks as it grows.
// Nobody is let in while training is owed room.
func (s *Scheduler) admit() {
	if (s.hungry || s.floor.late()) && len(s.running) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.running) == s.runner.MaxRows() {
		return
	}
	s.waiting.opened()
	for len(s.running) < s.runner.MaxRows() {
		q := s.waiting.next()
		if q == nil {
			return
		}
		err := q.hold()
		if err == nil && !s.allot(q) {
			return
		}
		s.waiting.pop(q)
		if err == nil {
			err = s.runner.Check(q.probe())
		}
		if err != nil {
			s.end(q, Event{Finish: Failed, Err: err})
			continue
		}
		if !q.resumes { // which has had its turn
			s.waiting.took(q)
		}
		s.reused += uint64(q.computed)
		at, _ := slices.BinarySearchFunc(s.running, q, order)
		s.running = slices.Insert(s.running, at, q)
	}
}

// allot gives a sequence the cache blocks of all its tokens so far: those that
// are known by their content, and new ones for the rest.
func (s *Scheduler) allot(q *sequence) bool {
	found, last := s.blocks.prefixes.find(q, q.reusable())
	s.blocks.hold(found) // or they might be taken
	rest, ok := s.blocks.take(blocksFor(q.told()) - len(found))
	if !ok {
		s.blocks.put(found)
		return false
	}
	q.blocks = append(found, rest...)
	q.remembered, q.node, q.computed = len(found), last, len(found)*batch.BlockSize
	return true
}

// grow gives the running sequences the blocks that their next tokens need.
// Where there are none left, the last in order goes back to the waiting. The
// first never does, and a request that needs more than the whole pool is not
// accepted, so the first always makes progress.
func (s *Scheduler) grow() {
	for i := 0; i < len(s.running); i++ {
		q := s.running[i]
		if q.complete(s.runner) {
			continue
		}
		for len(q.blocks) < blocksFor(q.length()) {
			more, ok := s.blocks.take(1)
			if ok {
				q.blocks = append(q.blocks, more...)
				continue
			}
			last := s.running[len(s.running)-1]
			s.preempt(last)
			if last == q {
				return
			}
		}
	}
}

// preempt puts a running sequence back to the waiting. It keeps its output,
// and what it had computed is computed again unless it is still cached then. So is
// what a step in flight computes: whoever gets its blocks writes to them later.
func (s *Scheduler) preempt(q *sequence) {
	s.running = slices.DeleteFunc(s.running, func(r *sequence) bool { return r == q })
	s.blocks.put(q.blocks)
	q.blocks, q.remembered, q.node, q.computed = nil, 0, 0, 0
	q.ahead, q.coming = 0, 0
	q.resumes, q.stays = true, q.stays+1
	s.preempted++
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.push(q)
}

// cancel ends the requests whose callers have gone, and those that have waited
// too long.
func (s *Scheduler) cancel() {
	if s.departed.Swap(false) {
		for _, q := range slices.Clone(s.running) {
			if err := q.gone(); err != nil {
				s.end(q, Event{Finish: Failed, Err: err})
			}
		}
		s.drop((*queue).drop, func(q *sequence) error { return q.gone() })
	}
	if s.limits.Wait > 0 {
		s.drop((*queue).dropOld, s.overdue())
	}
}

// drop ends the waiting requests for which reason gives one.
func (s *Scheduler) drop(from func(*queue, func(*sequence) bool), reason func(*sequence) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from(&s.waiting, func(q *sequence) bool {
		err := reason(q)
		if err != nil {
			s.end(q, Event{Finish: Failed, Err: err})
		}
		return err != nil
	})
}

// overdue says why a request has waited too long, if it has.
func (s *Scheduler) overdue() func(*sequence) error {
	now := time.Now()
	return func(q *sequence) error {
		waited := now.Sub(q.arrived)
		if waited <= s.limits.Wait || q.resumes {
			return nil
		}
		err := fmt.Errorf("%w: %v, the limit is %v", ErrWaitedTooLong, waited.Round(time.Millisecond), s.limits.Wait)
		if !q.ready() {
			err = q.lacks(err)
		}
		return err
	}
}

// patience is when a request that waits will have waited too long; nil: never.
func (s *Scheduler) patience() <-chan time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := s.waiting.oldest(false)
	if s.limits.Wait == 0 || oldest == nil {
		return nil
	}
	return time.After(max(time.Millisecond, time.Until(oldest.arrived.Add(s.limits.Wait))+1))
}
