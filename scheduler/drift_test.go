package scheduler

import (
	"math"
	"math/rand/v2"
	"time"
)

// drift is the speed of a device that others use as well: it wanders, and now
// and then nothing runs for a while.
type drift struct {
	random *rand.Rand
	spread float64 // of the wandering's logarithm, within some seconds
	jitter float64 // from step to step, the same
	stalls float64 // a second of work, each of a tenth of a second on average

	hangs []hang // that are to come

	slowness  float64 // now: its logarithm
	begun, at time.Time
}

// hang is a time in which nothing runs.
type hang struct{ at, lasts time.Duration }

const wandering = 5 // s, in which the speed becomes another

// takes is how long a step takes that takes so many seconds by the law.
func (d *drift) takes(seconds float64) float64 {
	now := time.Now()
	if d.at.IsZero() {
		d.begun, d.at = now, now
	}
	same := math.Exp(-now.Sub(d.at).Seconds() / wandering)
	d.at = now
	d.slowness = same*d.slowness + math.Sqrt(1-same*same)*d.spread*d.random.NormFloat64()
	took := seconds * math.Exp(d.slowness+d.jitter*d.random.NormFloat64())
	if len(d.hangs) > 0 && now.Sub(d.begun) > d.hangs[0].at {
		took += d.hangs[0].lasts.Seconds()
		d.hangs = d.hangs[1:]
	}
	if d.stalls == 0 {
		return took
	}
	stalled := 0.0
	for work := d.random.ExpFloat64() / d.stalls; work < took; work += d.random.ExpFloat64() / d.stalls {
		stalled += d.random.ExpFloat64() / 10
	}
	return took + stalled
}
