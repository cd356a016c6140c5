package train

import (
	"encoding/json"
	"math"
)

// Point is a loss at a step.
type Point struct {
	Step int
	Loss float64
}

// Curve is the losses of a run in the order of steps. Those that are not finite are not in it.
type Curve struct {
	Loss []Point // of steps
	Eval []Point // of evaluations
}

// What a curve shows at most: a log is read from a file that may hold anything.
const maxLoss = 1e30

// addLine adds what a line of the log says. Other lines are passed over.
func (c *Curve) addLine(line []byte) {
	var r struct {
		Step     int
		Loss     *float64
		EvalLoss *float64 `json:"eval_loss"`
	}
	if json.Unmarshal(line, &r) != nil || r.Step < 0 || r.Step > mostSteps {
		return
	}
	if r.Loss != nil && math.Abs(*r.Loss) < maxLoss {
		c.Loss = append(c.Loss, Point{r.Step, *r.Loss})
	}
	if r.EvalLoss != nil && math.Abs(*r.EvalLoss) < maxLoss {
		c.Eval = append(c.Eval, Point{r.Step, *r.EvalLoss})
	}
}

// thinned is at most n points: means over equal shares of the points.
func thinned(points []Point, n int) []Point {
	if len(points) <= n {
		return points
	}
	out := make([]Point, n)
	for i := range out {
		from, until := i*len(points)/n, (i+1)*len(points)/n
		sum := 0.0
		for _, p := range points[from:until] {
			sum += p.Loss
		}
		out[i] = Point{points[(from+until)/2].Step, sum / float64(until-from)}
	}
	return out
}

// smoothed is the running mean of points, in which those before count less and
// less: half as much after a thirtieth of all.
func smoothed(points []Point) []Point {
	keep := math.Pow(0.5, 30/float64(max(30, len(points))))
	out, sum, weight := make([]Point, len(points)), 0.0, 0.0
	for i, p := range points {
		sum, weight = keep*sum+p.Loss, keep*weight+1
		out[i] = Point{p.Step, sum / weight}
	}
	return out
}

// extent is the smallest box around all points.
type extent struct {
	steps     int // the last one
	low, high float64
}

// extent is false where there is no point. It is never flat: a chart has to
// divide by its sides.
func (c *Curve) extent() (extent, bool) {
	e := extent{low: math.Inf(1), high: math.Inf(-1)}
	for _, points := range [][]Point{c.Loss, c.Eval} {
		for _, p := range points {
			e.steps = max(e.steps, p.Step)
			e.low, e.high = min(e.low, p.Loss), max(e.high, p.Loss)
		}
	}
	if e.low > e.high {
		return e, false
	}
	if least := 1e-3 * max(1, math.Abs(e.high)); e.high-e.low < least {
		e.low, e.high = e.low-least/2, e.high+least/2
	}
	e.steps = max(1, e.steps)
	return e, true
}

// ticks are round numbers, 1, 2 or 5 times a power of ten apart: from the last
// at or below low to the first at or above high, at most n+2 of them. high is
// above low.
func ticks(low, high float64, n int) []float64 {
	step := TickStep((high - low) / float64(n))
	out := []float64{math.Floor(low/step) * step}
	for first := out[0]; out[len(out)-1] < high && len(out) < n+2; {
		out = append(out, first+float64(len(out))*step)
	}
	return out
}

// TickStep is what lies between two lines of a picture's axis: the smallest of 1, 2
// and 5 times a power of ten that is not below least, which is above 0.
func TickStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= least {
			return m * power
		}
	}
	return 10 * power
}
