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
	shares   []share
	decodes  int // of the shares, those of decode rows, which are planned first
	room     int // rows that are left
	backward int // slices of the pass
	updates  []batch.Update
	ends     *pass // whose last slice it has; nil: it ends none

	mix, serving mix     // all its work, and that of requests
	target       float64 // s: how long it may take
	pace, slack  float64 // s: see there
	charged      float64 // s: that it was expected to give training
	forced       bool    // training got more than the targets allow
	own          bool    // it is training's own: requests' rows wait for the next
	limit        Limit
	started      time.Time
	decision     Decision
}

// depth is how many steps are in flight for a moment: one runs, one has been
// started behind it.
const depth = 2

// overlaps tells whether the next step can be planned while the last one runs.
// Nobody waits for the space between two steps, there is no penalty on a token that is not
// known, and no source could be asked for its next work once the last step has ended; but for the
// step behind one of training's own, which asks none.
func (s *Scheduler) overlaps() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pass != nil && s.pass.planned && len(s.sources) > 0 && s.apart.held == 0 {
		return false
	}
	waits := func(q *sequence) bool { return q.coming > 0 && q.penalized() }
	return !slices.ContainsFunc(s.between, s.ready) && !slices.ContainsFunc(s.running, waits)
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
	f := s.plan()
	step := batch.Step{Spans: make([]batch.Span, len(f.shares)), Backward: f.backward, Updates: f.updates}
	for i, sh := range f.shares {
		step.Spans[i] = sh.span
	}
	if len(step.Spans)+step.Backward+len(step.Updates) == 0 {
		return false, nil // and the sources that had nothing to offer have ended
	}
	if err := s.runner.Start(&step); err != nil {
		return false, fmt.Errorf("run a step: %w", err)
	}
	f.expect()
	s.keepWaiting(f)
	f.decision = s.decide(f)
	f.charged = s.trainingPart(f) * s.cost.predict(&f.mix)
	s.floor.charge(f.charged)
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

// abandon waits for the steps in flight, whose results are of no use, and
// gives up on the pass.
func (s *Scheduler) abandon() {
	for range s.flights {
		_, _ = s.runner.Wait() // why they are abandoned is known
	}
	s.flights = nil
	s.dropPass()
}
