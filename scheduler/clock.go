package scheduler

import "time"

// clock takes the time of a step that has just ended: it began when it was
// started, or when the step before it ended.
func (s *Scheduler) clock(f *flight) {
	begun := f.started
	if s.landed.After(begun) {
		begun = s.landed
	}
	s.landed = time.Now()
	took := s.landed.Sub(begun)
	training := s.trainingPart(f) * took.Seconds()
	s.cost.learn(&f.mix, took)
	s.floor.settle(took.Seconds(), training, f.charged, f.forced)
	f.decision.Measured = milliseconds(took.Seconds())
	s.totals.count(&f.decision, took, time.Duration(training*float64(time.Second)))
}

// trainingPart is the part of a step's time that training takes, by what is
// known of steps' times; where nothing is known yet, its part of the rows.
func (s *Scheduler) trainingPart(f *flight) float64 {
	if all := s.cost.fitted(&f.mix); all > 0 {
		return 1 - s.cost.fitted(&f.serving)/all
	}
	if f.serving[mixRows] == 0 {
		return 1
	}
	return 1 - f.serving[mixRows]/f.mix[mixRows]
}
