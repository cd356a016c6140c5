package scheduler

import "time"

// Totals are what steps have done since the start.
type Totals struct {
	Steps    uint64
	Busy     time.Duration // in which steps ran
	Training time.Duration // the part of it that training took, by what is known of steps' times
	Rows     Rows

	First, Next Promise // tokens: each request's first, by Targets.TTFT, and those after it, by Targets.ITL
}

// Rows are tokens that steps computed, by kind.
type Rows struct{ Train, Eval, Prefill, Decode uint64 }

// Promise counts tokens, and those of them that came in time.
type Promise struct{ All, InTime uint64 }

// TrainingShare is the part of the time in which steps ran that training took.
func (t Totals) TrainingShare() float64 {
	if t.Busy == 0 {
		return 0
	}
	return float64(t.Training) / float64(t.Busy)
}

// Since are the totals since earlier ones.
func (t Totals) Since(before Totals) Totals {
	t.Steps -= before.Steps
	t.Busy -= before.Busy
	t.Training -= before.Training
	t.Rows.Train -= before.Rows.Train
	t.Rows.Eval -= before.Rows.Eval
	t.Rows.Prefill -= before.Rows.Prefill
	t.Rows.Decode -= before.Rows.Decode
	t.First.less(before.First)
	t.Next.less(before.Next)
	return t
}

func (p *Promise) less(before Promise) { p.All, p.InTime = p.All-before.All, p.InTime-before.InTime }

func (p *Promise) count(took, target time.Duration) {
	p.All++
	if target == 0 || took <= target {
		p.InTime++
	}
}

// Totals returns what steps had done when the last one was planned. It may be
// called from any goroutine.
func (s *Scheduler) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}

// count adds a step that has ended.
func (t *Totals) count(d *Decision, took, training time.Duration) {
	t.Steps++
	t.Busy += took
	t.Training += training
	t.Rows.Train += uint64(d.Train)
	t.Rows.Eval += uint64(d.Eval)
	t.Rows.Prefill += uint64(d.Prefill)
	t.Rows.Decode += uint64(d.Decode)
}

// punctual counts whether a sequence's token came in time.
func (s *Scheduler) punctual(q *sequence) {
	if len(q.output) == 0 {
		q.began = s.landed
		s.totals.First.count(s.landed.Sub(q.arrived), s.targets.TTFT)
	} else {
		s.totals.Next.count(s.landed.Sub(q.spoke), s.targets.ITL)
	}
	q.spoke = s.landed
}
