package scheduler

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Cost is what is known of how long steps take on one device with one model:
// a time for each amount of a step's mix. It learns from every step, and is a value: saved as
// JSON and loaded, it goes on where it was.
//
// The times are those that fit best in the sense of weighted least squares over
// past steps, under the condition that none is negative, which keeps every prediction
// growing with the work. Errors count relative to the step's time, and older steps count
// less, but only in what newer ones tell about: hours of serving do not wash out what
// is known of training. The condition is kept by coordinate descent (Franc, Hlavac and Navara 2005,
// "Sequential Coordinate-wise Algorithm for the Non-negative Least Squares Problem"),
// a few sweeps a step from where the last one left off.
type Cost struct {
	Version   int                       `json:"version"`
	Seconds   [amounts]float64          `json:"seconds"`   // that one of each amount takes
	Curvature [amounts][amounts]float64 `json:"curvature"` // of the squared errors: how certain the times are
	Pull      [amounts]float64          `json:"pull"`      // half the negative gradient of the squared errors
	Most      [amounts]float64          `json:"most"`      // of each amount in a step so far, planned or possible
	Ratio     float64                   `json:"ratio"`     // of the measured to the predicted time, lately
	Margins   [2]float64                `json:"margins"`   // times what is predicted: few steps without training, and with it, take longer
}

// costVersion changes with the meaning of any amount.
const costVersion = 3

// NewCost knows nothing.
func NewCost() Cost {
	return Cost{Version: costVersion, Ratio: 1, Margins: [2]float64{firstMargin, firstMargin}}
}

// LoadCost reads what was saved as JSON.
func LoadCost(data []byte) (Cost, error) {
	var c Cost
	if err := json.Unmarshal(data, &c); err != nil {
		return Cost{}, fmt.Errorf("read the times of steps: %w", err)
	}
	if err := c.check(); err != nil {
		return Cost{}, fmt.Errorf("read the times of steps: %w", err)
	}
	c.doubt()
	return c, nil
}

// WithCost begins with what is known of the runner's device and model.
func WithCost(c Cost) Option { return func(s *Scheduler) { s.cost = c } }

// Cost is what is known by now of how long steps take, to be saved. It may be
// called from any goroutine.
func (s *Scheduler) Cost() Cost {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// check refuses what learning cannot have left.
func (c *Cost) check() error {
	if c.Version != costVersion {
		return fmt.Errorf("they are of version %d, this is %d", c.Version, costVersion)
	}
	ok := c.Ratio > 0 && min(c.Margins[0], c.Margins[1]) >= 1
	for i := range amounts {
		ok = ok && c.Seconds[i] >= 0 && c.Curvature[i][i] >= 0 && c.Most[i] >= 0
	}
	if !ok {
		return errors.New("a time or an amount is negative")
	}
	return nil
}

const (
	keep       = 1 - 1.0/128 // of the weight of older steps, at each step
	sweeps     = 8           // of coordinate descent, a step
	leastCurve = 1e-30       // of an amount that was ever seen
	grain      = 100e-6      // s: what clocks and other programs add to a step's time
	doubt      = 1.0 / 8     // the weight of what was known before a restart: drivers and clocks change
	outlier    = 4           // times what was predicted: more is taken for this much, at first

	ratioGain = 1.0 / 8 // as RFC 6298 has it
	mishap    = 2       // times what was predicted: more moves the ratio no further

	overShare   = 1.0 / 64 // of the steps take longer than their bound
	marginGain  = 0.15     // of a step of marginStep and more
	marginStep  = 0.1      // s: shorter steps count less, as a clock's or another program's grain is more of them
	firstMargin = 1.25
	leastMargin = 1.05
	mostMargin  = 2 // a machine on which more steps are off than that is not helped by smaller ones

	firstRows = 16 // as many need not have been seen before: of a step, of its training, and times slices
	growth    = 2  // times the most that was seen may be tried
)

// doubt lets what is new count more than what was known.
func (c *Cost) doubt() {
	for i := range c.Curvature {
		for j := range c.Curvature {
			c.Curvature[i][j] *= doubt
		}
		c.Pull[i] *= doubt
	}
}

// predict is the time that a step will most likely take, in seconds.
func (c *Cost) predict(x *mix) float64 { return c.Ratio * c.fitted(x) }

// bound is the time that a step will hardly exceed, in seconds.
func (c *Cost) bound(x *mix) float64 {
	return c.Ratio * *c.margin(x) * c.fitted(x)
}

// margin is that of steps of x's sort. Those that train are long, and what holds up a short
// step, a wait for the host or another program, is a small part of them.
func (c *Cost) margin(x *mix) *float64 {
	if x[mixTrainRows]+x[mixSliceRows] > 0 {
		return &c.Margins[1]
	}
	return &c.Margins[0]
}

func (c *Cost) fitted(x *mix) float64 {
	var sum float64
	for i, n := range x {
		sum += n * c.Seconds[i]
	}
	return sum
}

// knows tells whether a step is not much larger than what has been seen, so
// that a prediction means something.
func (c *Cost) knows(x *mix) bool {
	for _, i := range [...]int{mixRows, mixTrainRows, mixSliceRows} {
		if x[i] > max(firstRows, growth*c.Most[i]) {
			return false
		}
	}
	return true
}

// dare lets a step be as large as one that could have been planned: rows that
// were not wanted this time may be the next.
func (c *Cost) dare(x *mix) {
	for _, i := range [...]int{mixRows, mixTrainRows} {
		c.Most[i] = max(c.Most[i], x[i])
	}
}

// learn takes in the time of a step.
func (c *Cost) learn(x *mix, took time.Duration) {
	measured, expected := took.Seconds(), c.fitted(x)
	if c.knows(x) && expected > 0 {
		measured = min(measured, outlier*expected+grain)
		c.track(c.margin(x), (measured+grain)/(expected+grain), measured)
	}
	for i := range x {
		c.Most[i] = max(c.Most[i], x[i])
	}
	c.forget(x)
	scale := 1 / ((measured+expected)/2 + grain)
	for i, n := range x {
		for j, m := range x {
			c.Curvature[i][j] += n * m * scale * scale
		}
		c.Pull[i] += n * (measured - expected) * scale * scale
	}
	for range sweeps {
		c.descend()
	}
}

// track follows the ratio much as a sender follows a round trip's time (RFC
// 6298): within ten steps it is where a device that changes its speed is. The margin follows a
// quantile (Robbins and Monro 1951, "A Stochastic Approximation Method"): that a step took longer counts, not by how much.
func (c *Cost) track(margin *float64, ratio, took float64) {
	weight, off := min(1, took/marginStep), -overShare
	if ratio > *margin*c.Ratio {
		off = 1 - overShare
	}
	*margin = min(mostMargin, max(leastMargin, *margin*math.Exp(marginGain*weight*off)))
	c.Ratio += ratioGain * (min(ratio, mishap*c.Ratio) - c.Ratio)
}

// forget lets older steps count less for the amounts that a step has.
func (c *Cost) forget(x *mix) {
	var by [amounts]float64
	for i := range by {
		if by[i] = 1; x[i] > 0 {
			by[i] = math.Sqrt(keep)
		}
	}
	for i := range c.Curvature {
		for j := range c.Curvature {
			c.Curvature[i][j] *= by[i] * by[j]
		}
		c.Pull[i] *= by[i]
	}
}

// descend improves each time once, the others being as they are.
func (c *Cost) descend() {
	for i := range c.Seconds {
		if c.Curvature[i][i] < leastCurve {
			continue
		}
		change := max(-c.Seconds[i], c.Pull[i]/c.Curvature[i][i])
		c.Seconds[i] += change
		for j := range c.Pull {
			c.Pull[j] -= change * c.Curvature[i][j]
		}
	}
}
