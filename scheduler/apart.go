package scheduler

// apart is how passes begin beside requests: in the step of the requests' rows, or
// in one of their own before it.
//
// On software a step is as long as its rows are many, and fewer steps save a little. A GPU can
// lose more to both sorts of rows in one step than it takes to read the weights twice: training rows
// fill whole tiles of matrix products, and a few rows of others behind them are as dear as a
// tile. So it is learned (mixBoth), and the way that seems worse is tried now and then.
type apart struct {
	begun int     // passes beside requests
	held  float64 // s: that requests' next tokens wait for a step of training's own; 0: the last step had their rows
}

const (
	apartGain   = 0.97 // of the time together: what saves less is not worth a step
	apartFirst  = 16   // passes of which every other one begins the other way
	apartTrials = 32   // and then every so manieth
)

// better tells whether so much training had better not share a step with so
// many rows of requests.
func (a *apart) better(c *Cost, requests, training, both *mix) bool {
	better := c.fitted(requests)+c.fitted(training) < apartGain*c.fitted(both)
	return better != a.tries()
}

// tries tells whether the next pass begins the way that seems worse.
func (a *apart) tries() bool {
	if a.begun < apartFirst {
		return a.begun%2 == 1
	}
	return a.begun%apartTrials == 0
}

// beginSomewhere begins the next pass in the step or, without the requests'
// rows that have been planned, in one of its own before it, and returns what the step then
// leaves for training. Where a pass does not fit the better way, it may fit the other.
func (s *Scheduler) beginSomewhere(f *flight, r ration) ration {
	requests := len(f.shares) > 0
	switch {
	case requests && s.apart.held > 0 && !s.floor.must():
		return r // they have waited for a pass just now
	case !requests || s.targets == (Targets{}) || s.floor.must():
		s.begin(f, r)
		return r
	}
	own := s.own(f)
	first := s.better(f, own)
	if !first {
		s.begin(f, r)
	}
	if s.pass == nil {
		if s.begin(own, ration{target: own.target}); s.pass != nil {
			*f, r = *own, ration{target: own.target}
		}
	}
	if s.pass == nil && first {
		s.begin(f, r)
	}
	if s.pass != nil {
		s.apart.begun++
	}
	return r
}

// own is an empty step before the planned one, which still ends in time behind it.
func (s *Scheduler) own(f *flight) *flight {
	own := &flight{started: f.started, room: s.runner.MaxRows(), pace: f.pace, slack: f.slack, limit: LimitNothing, own: true}
	own.target = min(min(f.target, f.pace)-s.cost.bound(&f.mix), f.slack)
	return own
}

// better tells whether the most training that fits a step of its own had better not share
// one with the requests' rows.
func (s *Scheduler) better(f, own *flight) bool {
	alone := s.training(own)
	n := s.cost.fitting(s.runner.TrainRows(), own.target, true, alone)
	training, both := alone(n), s.training(f)(n)
	return n > 0 && s.apart.better(&s.cost, &f.mix, &training, &both)
}

// keepWaiting notes how long a step makes the requests' next tokens wait.
func (s *Scheduler) keepWaiting(f *flight) {
	s.apart.held = 0
	if f.own {
		s.apart.held = s.cost.bound(&f.mix)
	}
}
