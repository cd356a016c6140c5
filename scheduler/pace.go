package scheduler

import (
	"math"
	"time"
)

// pace is how long a step with the decode rows planned may take so that no
// request's times between tokens are longer than the target on average, in seconds: whoever was
// held up by what nobody foresaw catches up before there is training again. It is infinite where there is no
// target.
func (s *Scheduler) pace(f *flight) float64 {
	pace := math.Inf(1)
	if s.targets.ITL == 0 {
		return pace
	}
	lead := s.lead(f.started)
	for i := range f.shares[:f.decodes] {
		q := f.shares[i].sequence
		if len(q.output) == 0 {
			continue // its first token is in flight
		}
		due := q.began.Add(time.Duration(len(q.output)+q.coming) * s.targets.ITL)
		pace = min(pace, due.Sub(f.started).Seconds()-lead)
	}
	return pace
}
