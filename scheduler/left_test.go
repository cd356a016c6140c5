package scheduler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"loquetier/engine/batch"
)

// stories is about how long software takes for steps of the embedded model.
func stories(x *mix) float64 {
	return 5e-3*x[mixPass] + 0.35e-3*x[mixRows] + 0.15e-3*x[mixPicks] + 0.13e-3*x[mixSliceRows] + 0.2e-6*x[mixPairs] + 0.3e-6*x[mixDecodeKeys] + 2e-3*x[mixUpdates]
}

// h100 is about how long an H100 takes for steps of an 8B model: kernels for few
// rows read the weights in 7 ms, those for many in 22. Products of training rows and those of
// requests' rows beside them are computed apart.
func h100(x *mix) float64 {
	training := x[mixTrainRows]
	beside := x[mixRows] - training
	return products(training) + products(beside) + besides(x)
}

// h100Together is the same where products take both sorts of rows at once, and those of
// requests behind training rows cost as much as a step of their own, and more.
func h100Together(x *mix) float64 {
	seconds := products(x[mixRows]) + besides(x)
	if training := x[mixTrainRows]; training > 0 && training < x[mixRows] {
		seconds += 22e-3
	}
	return seconds
}

func products(rows float64) float64 {
	switch {
	case rows == 0:
		return 0
	case rows > few:
		return max(57e-6*rows, 22e-3+20e-6*rows)
	}
	return 7e-3 + 30e-6*rows
}

func besides(x *mix) float64 {
	return 0.06e-3*x[mixPicks] + 45e-9*x[mixDecodeKeys] + 2.2e-6*x[mixSliceRows] + 1e-3*x[mixUpdates]
}

// mutable is a load whose rate changes: a fifth, a quarter, two fifths and a fifth
// of the requests at 1, 2.5, 2 and 1 a second, times speed. Lengths are log-normal.
func mutable(n int, speed, prompt, output float64, seed uint64) (script []asked) {
	random := rand.New(rand.NewPCG(seed, 0))
	length := func(median, sigma float64) int {
		return max(1, int(median*min(11, math.Exp(sigma*random.NormFloat64()))))
	}
	at := 0.0
	for i := range n {
		rate := 1.0
		switch share := float64(i) / float64(n); {
		case share >= 0.19 && share < 0.43:
			rate = 2.5
		case share >= 0.43 && share < 0.81:
			rate = 2
		}
		at += random.ExpFloat64() / rate / speed
		script = append(script, asked{after(at), length(prompt, 1.1), length(output, 0.8)})
	}
	return script
}

// beside is a device with a job of sequences of one length, and with requests
// where there is a script.
func beside(law law, rows, length, layers int, script []asked) *trial {
	job := newJob(7, length)
	job.shortest = length
	return &trial{
		runner: newPaced(law, 4*rows, rows, layers, 40_000), targets: DefaultTargets(), floor: DefaultFloor,
		jobs: []*treadmill{job}, rate: steady(0), script: script, adapters: 4,
	}
}

// left is the share of the time until no more requests came that serving did not take, by what
// its rows cost at least, in steps that take as long as the targets allow.
func (tr *trial) left() float64 {
	cost := func(kind batch.Kind, n int) float64 {
		var x mix
		for range n {
			x.add(kind, 100, 1, 1)
		}
		if kind == batch.Prefill {
			x[mixPicks] = 1
		}
		return tr.runner.law(&x)
	}
	decode, prefill := (cost(batch.Decode, few)-cost(batch.Decode, 1))/(few-1), (cost(batch.Prefill, 1024)-cost(batch.Prefill, 512))/512
	took := float64(tr.then.rows.Decode)*decode + float64(tr.then.rows.Prefill)*prefill
	return 1 - took/tr.then.nominal - cost(batch.Decode, 1)/tr.targets.ITL.Seconds()
}

// mean is the time between two tokens on average.
func (v *reader) mean() time.Duration {
	var sum time.Duration
	for _, gap := range v.gaps {
		sum += gap
	}
	return sum / time.Duration(max(1, len(v.gaps)))
}

// attained is the share of the requests whose first token came in time, and
// their others on average.
func (tr *trial) attained() float64 {
	good := 0
	for _, v := range tr.visits {
		if v.first <= tr.targets.TTFT && v.mean() <= tr.targets.ITL {
			good++
		}
	}
	return float64(good) / float64(len(tr.visits))
}

// machine is a device with its model, and how requests and training use it.
type machine struct {
	law                  law
	rows, length, layers int     // of training
	prompt, output       float64 // tokens, medians
	drift                drift
}

func onSoftware() machine {
	return machine{law: stories, rows: 1024, length: 64, layers: 5, prompt: 22, output: 62}
}

func onH100() machine {
	return machine{law: h100, rows: 1024, length: 1024, layers: 32, prompt: 90, output: 250, drift: drift{spread: 0.01, jitter: 0.01}}
}

// shared is a machine that others use as well.
func (m machine) shared(stalls float64) machine {
	m.drift = drift{spread: 0.3, jitter: 0.2, stalls: stalls}
	return m
}

// pace is what training gets alone, in rows a second.
func (m machine) pace(t *testing.T) float64 {
	tr := beside(m.law, m.rows, m.length, m.layers, nil)
	tr.targets, tr.lasts = Targets{}, 2*time.Second
	tr.in(t)
	return float64(tr.then.trained) / tr.then.nominal
}

// replay lets requests of mutable come beside training. It returns what training got of
// its pace alone, too.
func (m machine) replay(t *testing.T, speed float64) (*trial, float64) {
	tr := beside(m.law, m.rows, m.length, m.layers, mutable(100, speed, m.prompt, m.output, 1))
	tr.runner.drift = &m.drift
	tr.runner.drift.random = rand.New(rand.NewPCG(1, 77))
	tr.in(t)
	share := float64(tr.then.trained) / tr.then.nominal / m.pace(t)
	t.Logf("training has %.3f of its pace alone, %.3f are left; attained %.3f, between tokens %v, of which %.3f in time", share, tr.left(), tr.attained(),
		quantile(tr.gaps(), 0.5).Round(time.Millisecond), float64(tr.totals.Next.InTime)/float64(tr.totals.Next.All))
	return tr, share
}

// TestTrainingGetsWhatIsLeft: of the time that requests do not take training
// gets nearly all, while they get what they are promised.
func TestTrainingGetsWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		machine
		speed float64
		lost  float64 // at most, of what is left
	}{
		"software, a fifth":      {onSoftware(), 2, 0.03},
		"software, over a third": {onSoftware(), 5.5, 0.03},
		"software, shared":       {onSoftware().shared(0), 5.5, 0.05},
		"software, with stalls":  {onSoftware().shared(1), 4, 0.07},
		"h100, a tenth":          {onH100(), 2, 0.09},
	} {
		t.Run(name, func(t *testing.T) {
			tr, share := c.replay(t, c.speed)
			assert.Greater(t, share, tr.left()-c.lost)
			assert.GreaterOrEqual(t, tr.attained(), 0.995)
		})
	}
}

// TestRowsApart: where rows that train and rows of requests are dear together,
// passes begin in steps of their own, and where they are not in the same ones; but for a trial
// of the other way now and then.
func TestRowsApart(t *testing.T) {
	together := onH100()
	together.law = h100Together
	for name, c := range map[string]struct {
		machine
		apart bool
	}{"h100, products together": {together, true}, "software": {onSoftware(), false}} {
		t.Run(name, func(t *testing.T) {
			tr, _ := c.replay(t, 2)
			apart, together := 0, 0
			for _, d := range tr.decisions[len(tr.decisions)/4:] {
				switch {
				case d.Train == 0 || d.Running == 0:
				case d.Decode+d.Prefill == 0:
					apart++
				default:
					together++
				}
			}
			if !c.apart {
				apart, together = together, apart
			}
			assert.Greater(t, apart, 100)
			assert.Less(t, together, apart/10)
			assert.Positive(t, together, "the other way is tried")
		})
	}
}

// TestWhoWasHeldUpCatchesUp: after the device has done nothing for some seconds
// there is no training until the requests under way have their pace again.
func TestWhoWasHeldUpCatchesUp(t *testing.T) {
	const hangs = 5 * time.Second
	m := onSoftware()
	m.drift.hangs = []hang{{10 * time.Second, hangs}}
	tr, share := m.replay(t, 3)
	heldUp := 0
	for _, v := range tr.visits {
		at := slices.IndexFunc(v.gaps, func(gap time.Duration) bool { return gap >= hangs })
		if at < 0 || len(v.gaps)-at < 35 { // it ends before
			continue
		}
		heldUp++
		assert.LessOrEqual(t, v.mean(), tr.targets.ITL)
	}
	assert.Greater(t, heldUp, 10)
	assert.Greater(t, share, tr.left()-0.1)
}
