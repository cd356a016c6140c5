package scheduler

import (
	"fmt"
	"slices"
	"time"

	"loquetier/engine/batch"
)

// flight is a step that has been started and not committed.
//
// While it runs the next one is planned and started, so that the device goes from
// one to the other by itself. Of each sequence it is known then how many tokens
// there will be, not which: a row whose token is not known names the want that chooses
// it. A stop token ends a sequence whose next row has been started; that row is
// dropped at commit. It does no harm: its blocks are given to others, but steps run in
// order, so whoever gets them writes later.
type flight struct {
	shares  []share
	works   []*work
	mix     mix
	limit   Limit
	started time.Time

	decision Decision
}

// depth is how many steps are in flight for a moment: one runs, one has been
// started behind it.
const depth = 2

// overlaps tells whether the next step can be planned while the last one runs.
// Nobody waits for the space between two steps, there is no source, whose work
// depends on what came of its work before, and no penalty on a token that is not known.
func (s *Scheduler) overlaps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waits := func(q *sequence) bool { return q.coming > 0 && q.penalized() }
	return len(s.between)+len(s.sources) == 0 && !slices.ContainsFunc(s.running, waits)
}

// step starts a step, if there is anything to compute, and commits the one
// before it; and itself where the next cannot be planned before.
func (s *Scheduler) step() error {
	started, err := s.start()
	if err != nil {
		return err
	}
	if !started || !s.overlaps() {
		return s.land(0)
	}
	return s.land(depth - 1)
}

// start starts a step over what is running; false: there is nothing to compute.
func (s *Scheduler) start() (bool, error) {
	f := &flight{}
	f.shares, f.works = s.plan()
	f.started = time.Now()
	step := batch.Step{Spans: make([]batch.Span, len(f.shares)), Backward: batch.All}
	for i, sh := range f.shares {
		step.Spans[i] = sh.span
	}
	for _, w := range f.works {
		step.Updates = append(step.Updates, w.updates...)
	}
	if len(step.Spans)+len(step.Updates) == 0 {
		return false, nil // and the sources that had nothing to offer have ended
	}
	if err := s.runner.Start(&step); err != nil {
		s.release(f)
		return false, fmt.Errorf("run a step: %w", err)
	}
	f.expect()
	f.measure(&step)
	f.decision = s.decide(f)
	s.flights = append(s.flights, f)
	return true, nil
}

// expect notes with the sequences what their steps will bring.
func (f *flight) expect() {
	wants := 0
	for i := range f.shares {
		q, span := f.shares[i].sequence, &f.shares[i].span
		for j := range span.Wants {
			if q != nil && span.Wants[j].Target < 0 {
				q.coming++
				q.picked = wants + j
			}
		}
		if q != nil {
			q.ahead += len(span.Tokens)
		}
		wants += len(span.Wants)
	}
}

// land commits the oldest steps, once they have run, until no more than a
// number are in flight.
func (s *Scheduler) land(most int) error {
	for len(s.flights) > most {
		f := s.flights[0]
		s.flights = slices.Delete(s.flights, 0, 1)
		result, err := s.runner.Wait()
		if err != nil {
			s.release(f)
			return fmt.Errorf("run a step: %w", err)
		}
		s.clock(f)
		s.commit(f, result)
		if s.decided != nil {
			s.decided(f.decision)
		}
	}
	return nil
}

// measure counts what is in a step.
func (f *flight) measure(step *batch.Step) {
	for i := range step.Spans {
		f.mix.span(&step.Spans[i])
	}
	f.mix[mixUpdates] = float64(len(step.Updates))
	f.limit = LimitNothing
}

// clock takes the time of a step that has just ended: it began when it was
// started, or when the step before it ended.
func (s *Scheduler) clock(f *flight) {
	begun := f.started
	if s.landed.After(begun) {
		begun = s.landed
	}
	s.landed = time.Now()
	took := s.landed.Sub(begun)
	f.decision.Predicted, f.decision.Bound = 1000*s.cost.predict(&f.mix), 1000*s.cost.bound(&f.mix)
	f.decision.Measured = float64(took) / float64(time.Millisecond)
	s.cost.learn(&f.mix, took)
	s.totals.count(&f.decision, took, 0)
}

// abandon waits for the steps in flight, whose results are of no use.
func (s *Scheduler) abandon() {
	for _, f := range s.flights {
		_, _ = s.runner.Wait() // why they are abandoned is known
		s.release(f)
	}
	s.flights = nil
}

// release gives back the cache blocks of a step's sources.
func (s *Scheduler) release(f *flight) {
	for _, w := range f.works {
		s.blocks.release(w)
	}
}
