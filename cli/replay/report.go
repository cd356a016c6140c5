package replay

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// longWait is the wait after which the published system counts a request as lost.
const longWait = 6 * time.Second

// Percentiles are of times, in milliseconds; 0 where there are none.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
}

// Summary is what a run comes to. Completed and Dropped are all Requests.
type Summary struct {
	Requests   int     `json:"requests"`
	Completed  int     `json:"completed"`
	Dropped    int     `json:"dropped"`
	Cut        int     `json:"cut"`            // still under way at the end and not late: not among Requests
	Attainment float64 `json:"slo_attainment"` // share of the requests, see Definition
	WaitOver6s int     `json:"wait_over_6s"`   // no first token within 6 s, dropped ones with them
	GapsWithin float64 `json:"itl_within"`     // share of all times between two tokens that are within the target

	TTFT Percentiles `json:"ttft_ms"`
	ITL  Percentiles `json:"itl_ms"` // of all times between two tokens

	PrefillRate float64 `json:"prefill_tokens_per_s"` // of prompts whose first token came
	DecodeRate  float64 `json:"decode_tokens_per_s"`  // tokens generated
	RequestRate float64 `json:"requests_per_s"`       // as they were due
	Preempted   int     `json:"preempted"`            // times that a running request had to wait again
	Seconds     float64 `json:"duration_s"`           // to the end of the last request

	TrainRate     float64 `json:"train_tokens_per_s"` // 0 without training
	TrainAlone    float64 `json:"train_standalone_tokens_per_s"`
	TrainShare    float64 `json:"train_share"`          // of standalone
	ArrivingShare float64 `json:"train_share_arriving"` // while requests were still to come, without the run's end
}

// Definition says when a request attains the SLO.
func (t Targets) Definition() string {
	return fmt.Sprintf("completed, first token within %v of when it was due, and on average at most %v between two tokens", t.TTFT, t.ITL)
}

// Summarize sums a run up. trainAlone is the training tokens a second without
// requests, 0 where nothing is trained.
func Summarize(run Run, targets Targets, trainAlone float64) Summary {
	s := Summary{Preempted: run.Preempted, Seconds: rounded(run.Length.Seconds()), RequestRate: rate(len(run.Outcomes), run.Arriving)}
	attained := 0
	for _, o := range run.Outcomes {
		late := targets.late(o, run.Length)
		if o.Cut && !late {
			s.Cut++
			continue
		}
		s.Requests++
		if o.Dropped || o.Cut {
			s.Dropped++
		}
		if targets.met(o) {
			attained++
		}
		if first, any := o.ttft(); !any || first > longWait {
			s.WaitOver6s++
		}
	}
	s.Completed = s.Requests - s.Dropped
	s.Attainment = share(attained, s.Requests)
	s.tokens(run, targets)
	s.training(run, trainAlone)
	return s
}

// tokens sums up the tokens of all requests, those that were cut as well.
func (s *Summary) tokens(run Run, targets Targets) {
	var firsts, gaps []time.Duration
	within, prompts, outputs := 0, 0, 0
	for _, o := range run.Outcomes {
		first, any := o.ttft()
		if !any {
			continue
		}
		firsts = append(firsts, first)
		prompts += o.Prompt
		outputs += len(o.Tokens)
		for i := range o.Tokens[1:] {
			gap := o.Tokens[i+1] - o.Tokens[i]
			gaps = append(gaps, gap)
			if gap <= targets.ITL {
				within++
			}
		}
	}
	s.TTFT, s.ITL, s.GapsWithin = percentiles(firsts), percentiles(gaps), share(within, len(gaps))
	s.PrefillRate, s.DecodeRate = rate(prompts, run.Length), rate(outputs, run.Length)
}

func (s *Summary) training(run Run, alone float64) {
	arriving := 0
	for _, p := range run.Trained {
		if p.At <= run.Arriving {
			arriving += p.Tokens
		}
	}
	s.TrainRate, s.TrainAlone = rate(trained(run.Trained), run.Length), rounded(alone)
	if alone > 0 {
		s.TrainShare, s.ArrivingShare = rounded(s.TrainRate/alone), rounded(rate(arriving, run.Arriving)/alone)
	}
}

// trained is all tokens of a training's progress.
func trained(all []Progress) int {
	n := 0
	for _, p := range all {
		n += p.Tokens
	}
	return n
}

// rate is n a second over a time.
func rate(n int, over time.Duration) float64 {
	if over <= 0 {
		return 0
	}
	return rounded(float64(n) / over.Seconds())
}

// Rate is the tokens a second between the first and the last of a number of
// events: the first only begins the time. 0: there are not two.
func Rate(all []Progress) float64 {
	if len(all) < 2 {
		return 0
	}
	return rate(trained(all[1:]), all[len(all)-1].At-all[0].At)
}

// share is n of all; of none, all.
func share(n, all int) float64 {
	if all == 0 {
		return 1
	}
	return math.Round(1e6*float64(n)/float64(all)) / 1e6
}

// rounded keeps three digits behind the point.
func rounded(x float64) float64 { return math.Round(1e3*x) / 1e3 }

// percentiles sorts the times.
func percentiles(times []time.Duration) Percentiles {
	slices.Sort(times)
	return Percentiles{milliseconds(percentile(times, 50)), milliseconds(percentile(times, 90)), milliseconds(percentile(times, 99))}
}

// percentile is the smallest of sorted values that p percent of them do not
// exceed; zero where there are none.
func percentile[T cmp.Ordered](sorted []T, p int) T {
	if len(sorted) == 0 {
		var none T
		return none
	}
	return sorted[max(0, (p*len(sorted)+99)/100-1)]
}

func milliseconds(d time.Duration) float64 { return rounded(float64(d) / float64(time.Millisecond)) }
