package replay

import (
	"math"
	"time"

	"loquetier/train"
)

// mostBuckets is the most parts that a picture divides its time into.
const mostBuckets = 150

// series is a run in equal parts of its time: what the picture shows.
type series struct {
	width    time.Duration
	arrivals []float64 // requests that were due, a second
	running  []float64 // due and neither complete nor dropped, at the end of the part
	gaps     []float64 // 99th percentile of the times between two tokens that end in it, seconds; NaN: none
	trained  []float64 // tokens a second
}

func newSeries(run Run) series {
	length := max(run.Length, time.Millisecond)
	s := series{width: bucketWidth(length)}
	n := int((length + s.width - 1) / s.width)
	s.arrivals, s.running, s.gaps, s.trained = make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	gaps := make([][]time.Duration, n)
	for _, o := range run.Outcomes {
		s.arrivals[s.at(o.At)] += 1 / s.width.Seconds()
		for i := s.at(o.At); i < s.at(o.end()); i++ {
			s.running[i]++
		}
		for i := range max(0, len(o.Tokens)-1) {
			at := s.at(o.Tokens[i+1])
			gaps[at] = append(gaps[at], o.Tokens[i+1]-o.Tokens[i])
		}
	}
	for i, all := range gaps {
		s.gaps[i] = math.NaN()
		if p := percentiles(all); len(all) > 0 {
			s.gaps[i] = p.P99 / 1e3
		}
	}
	s.train(run)
	return s
}

// bucketWidth is the shortest whole number of 1, 2 or 5 times a power of ten
// that divides a length into at most mostBuckets parts, half a second at least.
func bucketWidth(length time.Duration) time.Duration {
	least := max(0.5, length.Seconds()/mostBuckets)
	return time.Duration(train.TickStep(least) * float64(time.Second))
}

// at is the part that a time lies in.
func (s series) at(t time.Duration) int {
	return min(max(0, int(t/s.width)), len(s.arrivals)-1)
}

// end is when nothing more came.
func (o Outcome) end() time.Duration {
	if n := len(o.Tokens); n > 0 {
		return o.Tokens[n-1]
	}
	return o.At
}

// train spreads the tokens of each piece of progress evenly over the time
// since the one before, in which they were computed.
func (s series) train(run Run) {
	from := time.Duration(0)
	for _, p := range run.Trained {
		rate := float64(p.Tokens) / max(p.At-from, time.Microsecond).Seconds()
		for i := s.at(from); i <= s.at(p.At); i++ {
			begin, end := max(from, time.Duration(i)*s.width), min(p.At, time.Duration(i+1)*s.width)
			s.trained[i] += rate * max(0, end-begin).Seconds() / s.part(i, run.Length).Seconds()
		}
		from = p.At
	}
}

// part is the length of a part: the last may be shorter.
func (s series) part(i int, length time.Duration) time.Duration {
	return max(time.Millisecond, min(s.width, length-time.Duration(i)*s.width))
}
