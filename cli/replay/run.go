package replay

import "time"

// Outcome is what became of a request. Times are since the replay began.
type Outcome struct {
	Request                 // At: when it was due
	Tokens  []time.Duration // when each token of the output arrived
	Dropped bool            // it was refused, or ended before its output was complete
	Cut     bool            // it was still under way when the replay ended: it counts only if it was late already, as dropped
}

// ttft is the time to the first token; false: there was none.
func (o Outcome) ttft() (time.Duration, bool) {
	if len(o.Tokens) == 0 {
		return 0, false
	}
	return o.Tokens[0] - o.At, true
}

// perToken is the mean time between two tokens; 0 where there are not two.
func (o Outcome) perToken() time.Duration {
	last := len(o.Tokens) - 1
	if last < 1 {
		return 0
	}
	return (o.Tokens[last] - o.Tokens[0]) / time.Duration(last)
}

// Progress is training tokens whose gradient was complete at a time.
type Progress struct {
	At     time.Duration
	Tokens int
}

// Run is a load that has been replayed.
type Run struct {
	Outcomes  []Outcome
	Trained   []Progress    // in order
	Length    time.Duration // from the beginning to the end of the last request
	Arriving  time.Duration // from the beginning to when the last request was due
	Preempted int           // times that a running request had to wait again
}

// Targets are what a served request should see.
type Targets struct {
	TTFT time.Duration // from when a request is due to its first token
	ITL  time.Duration // between two tokens
}

// met tells whether a request got what the targets promise.
func (t Targets) met(o Outcome) bool {
	first, any := o.ttft()
	return any && !o.Dropped && first <= t.TTFT && o.perToken() <= t.ITL
}

// late tells whether the first token came after its target, or had not come by
// then at the end of the replay.
func (t Targets) late(o Outcome, end time.Duration) bool {
	if first, any := o.ttft(); any {
		return first > t.TTFT
	}
	return end-o.At > t.TTFT
}
