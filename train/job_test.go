package train

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/batch"
)

// given is what a job gave the device, with the wants as a set of targets.
type given struct {
	kind   batch.Kind
	tokens []int32
	wants  map[int]int32
}

func asGiven(s batch.Span) given {
	g := given{s.Kind, s.Tokens, map[int]int32{}}
	for _, w := range s.Wants {
		g.wants[w.Row] = w.Target
	}
	return g
}

// expected is what of an example is to be given.
func expected(kind batch.Kind, e Example) (given, bool) {
	g := given{kind: kind, wants: map[int]int32{}}
	for i, target := range e.Targets {
		if target {
			g.tokens = e.IDs[:max(2, i)]
			g.wants[i-1] = e.IDs[i]
		}
	}
	return g, len(g.wants) > 0
}

// plan is all that a whole run is to give, in order.
func plan(c Config) (all []given) {
	order := NewOrder(len(c.Data.Examples), !c.Settings.NoShuffle, c.Settings.Seed)
	add := func(kind batch.Kind, e Example) {
		if g, ok := expected(kind, e); ok {
			all = append(all, g)
		}
	}
	for step := range c.Settings.Steps + 1 {
		if step == 0 || step == c.Settings.Steps || step%c.Settings.EvalEvery == 0 {
			for _, e := range c.Eval.Examples {
				add(batch.Eval, e)
			}
		}
		for i := 0; i < c.Settings.batch() && step < c.Settings.Steps; i++ {
			add(batch.Train, c.Data.Examples[order.At(step*c.Settings.batch()+i)])
		}
	}
	return all
}

func TestEverySequenceIsGivenOnceInOrder(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 0))
		c, d := config(t)
		c.Settings.MicroBatch, c.Settings.Accumulate, c.Settings.NoShuffle = 1+r.IntN(5), 1+r.IntN(3), r.IntN(2) == 0
		c.Settings.EvalEvery, c.Settings.SaveEvery, c.Settings.Seed, c.Data = 1+r.IntN(4), 0, seed, examples(1+r.IntN(20))
		if c.Data.check() != nil {
			continue // no targets
		}
		j := newTestJob(t, c)
		var all []given
		targets, updates := 0, 0
		for !j.Done() {
			spans, u := d.step(t, j, r.IntN(120), r.IntN(10))
			for _, s := range spans {
				all = append(all, asGiven(s))
				if s.Kind == batch.Train {
					targets += len(s.Wants)
				}
			}
			if len(u) > 0 {
				updates++
				assert.Equal(t, batch.Update{
					Slot: 4, Targets: targets, Step: updates, LR: u[0].LR, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Clip: 1,
				}, u[0])
				targets = 0
			}
		}
		require.NoError(t, j.Err())
		assert.Equal(t, plan(c), all)
		assert.Zero(t, targets, "an update follows the last targets")
	}
}

func TestStepsAreFilledAsFarAsTheyGo(t *testing.T) {
	c, d := config(t)
	c.Eval = nil
	j := newTestJob(t, c)
	steps := 0
	for ; !j.Done(); steps++ {
		spans, updates := d.step(t, j, 1<<20, 1<<20)
		if len(spans) > 0 {
			require.Len(t, updates, 1, "an optimizer step that fits is one step")
		}
	}
	assert.Equal(t, c.Settings.Steps+1, steps, "the last call ends the job")
}

// The loss is the mean over the step's targets, whatever the room was.
func TestLossesDoNotDependOnTheRoom(t *testing.T) {
	var first []map[string]any
	for _, rows := range []int{36, 50, 64, 1000} {
		c, d := config(t)
		c.Rows, c.Settings.LR = rows, 1e-30 // the weights stay: float32 sums may differ
		trained(t, c, d)
		log := logged(t, c.Out)
		for _, line := range log {
			delete(line, "grad_norm")
		}
		if first == nil {
			first = log
		}
		assert.Equal(t, first, log)
	}
	require.Len(t, first, 9+4)
	assert.Equal(t, 0.0, first[0]["step"])
	assert.Contains(t, first[0], "eval_loss", "the first line is of an evaluation")

	c, _ := config(t)
	order, sum, n, tokens := NewOrder(13, true, 0), 0.0, 0, 0
	s := &sim{}
	for position := range 6 {
		if g, ok := expected(batch.Train, c.Data.Examples[order.At(position)]); ok {
			for row, target := range g.wants {
				sum -= float64(s.logProb(g.tokens[row], target))
				n++
			}
			tokens += len(g.tokens)
		}
	}
	assert.InEpsilon(t, sum/float64(n), first[1]["loss"], 1e-12)
	assert.Equal(t, []any{float64(n), float64(tokens)}, []any{first[1]["targets"], first[1]["tokens"]})
}

func TestALogHasTheFieldsOfTheContract(t *testing.T) {
	c, d := config(t)
	var copied lines
	c.Log = &copied
	j := trained(t, c, d)
	log := read(t, c.Out, logFile)
	assert.Equal(t, log, string(copied))
	assert.Regexp(t, `^\{"step":0,"eval_loss":[0-9.]+\}
\{"step":0,"loss":[0-9.]+,"grad_norm":[0-9.]+,"lr":0.005,"targets":\d+,"tokens":\d+,"tokens_per_s":[0-9.e+]+\}
\{"step":1,"loss":`, log)
	curve := j.Curve()
	assert.Equal(t, []int{9, 4}, []int{len(curve.Loss), len(curve.Eval)})
	svg := read(t, c.Out, curveFile)
	assert.Contains(t, svg, "evaluation")
	assert.Contains(t, svg, `<path class="mean"`)
}

type lines []byte

func (l *lines) Write(p []byte) (int, error) { *l = append(*l, p...); return len(p), nil }

func TestEventsTellWhatHappens(t *testing.T) {
	c, d := config(t)
	c.Settings.Steps, c.Settings.Warmup = 3, 0
	var all []string
	c.Events = func(e Event) {
		require.Equal(t, 3, e.Steps)
		all = append(all, fmt.Sprint(e.Kind, e.Step, filepath.Base(e.Path), e.Err))
	}
	trained(t, c, d)
	assert.Equal(t, []string{
		fmt.Sprint(Evaluated, 0, ".", nil), fmt.Sprint(StepDone, 0, ".", nil), fmt.Sprint(StepDone, 1, ".", nil),
		fmt.Sprint(Saved, 2, "step-2", nil), fmt.Sprint(StepDone, 2, ".", nil), fmt.Sprint(Evaluated, 3, ".", nil),
		fmt.Sprint(Saved, 3, "step-3", nil), fmt.Sprint(Ended, 3, ".", nil),
	}, all)
}

func TestJobsAreIndependent(t *testing.T) {
	alone, shared := make([][]map[string]any, 3), make([][]map[string]any, 3)
	jobs := func(d device) (all []Config) {
		for i := range 3 {
			c, _ := config(t)
			c.Settings.Steps, c.Settings.MicroBatch, c.Settings.Seed, c.Settings.LR = 4+3*i, 1+i, uint64(i), 0.01/float64(1+i)
			c.Data = examples(10 + i)
			d[i] = &sim{slot: i}
			c.Trainee = d[i]
			all = append(all, c)
		}
		return all
	}
	d := device{}
	for i, c := range jobs(d) {
		trained(t, c, d)
		alone[i] = logged(t, c.Out)
	}
	d = device{}
	all := jobs(d)
	running := []*Job{newTestJob(t, all[0]), newTestJob(t, all[1]), newTestJob(t, all[2])}
	for !running[0].Done() || !running[1].Done() || !running[2].Done() {
		for i, j := range running {
			d.step(t, j, all[i].Rows, all[i].Blocks)
		}
	}
	for i, c := range all {
		require.NoError(t, running[i].Err())
		shared[i] = logged(t, c.Out)
	}
	assert.Equal(t, alone, shared)
}

func TestAStepThatIsNotFiniteIsSkipped(t *testing.T) {
	c, d := config(t)
	d[4].poison = func(update int) bool { return update == 2 || update == 4 }
	kinds := map[EventKind]int{}
	c.Events = func(e Event) { kinds[e.Kind]++ }
	j := trained(t, c, d)
	assert.Equal(t, map[EventKind]int{StepDone: 7, StepSkipped: 2, Evaluated: 4, Saved: 5, Ended: 1}, kinds)
	assert.Equal(t, 7, j.at.Updates)
	for _, line := range logged(t, c.Out) {
		if line["step"] == 2.0 && line["eval_loss"] == nil {
			assert.Equal(t, true, line["skipped"])
			assert.Nil(t, line["loss"])
			assert.Nil(t, line["grad_norm"])
		}
	}
}

func TestAJobThatStaysNotFiniteFails(t *testing.T) {
	c, d := config(t)
	d[4].poison = func(update int) bool { return update >= 3 }
	j := newTestJob(t, c)
	d.drive(t, j, c.Rows, c.Blocks)
	assert.EqualError(t, j.Err(), "step 7: the loss or its gradient was not finite in 5 steps in a row: lower --lr, or look at the data")
	assert.Equal(t, "step-6\n", read(t, c.Out, stateDir, latestFile))
}

func TestOnlySkippedStepsInARowCount(t *testing.T) {
	c, d := config(t)
	c.Settings.Steps = 16
	d[4].poison = func(update int) bool { return update%2 == 1 }
	assert.Equal(t, 8, trained(t, c, d).at.Updates)
}

func TestSkippedStepsCountAcrossAResume(t *testing.T) {
	c, d := config(t)
	d[4].poison = func(update int) bool { return update >= 3 }
	c.Settings.StopAfter = 6
	trained(t, c, d)
	c.Settings.StopAfter = 0
	j, d := again(t, c)
	d[4].poison = func(int) bool { return true }
	d.drive(t, j, c.Rows, c.Blocks)
	assert.ErrorContains(t, j.Err(), "step 7: the loss or its gradient was not finite in 5 steps in a row")
}

func TestStepsWithoutTargetsAreSkipped(t *testing.T) {
	c, d := config(t)
	c.Settings.MicroBatch, c.Settings.Accumulate, c.Settings.NoShuffle, c.Settings.Steps = 1, 1, true, 5
	c.Data = &Dataset{Name: "x", Examples: []Example{continuation([]int32{1}, 0), continuation([]int32{1, 2}, 0), continuation([]int32{1, 2}, 2)}}
	j := trained(t, c, d)
	assert.Equal(t, 2, j.at.Updates)
	var targets []any
	for _, line := range logged(t, c.Out) {
		if line["eval_loss"] == nil {
			targets = append(targets, line["targets"])
			assert.Equal(t, line["targets"] == 0.0, line["skipped"] == true)
		}
	}
	assert.Equal(t, []any{0.0, 1.0, 0.0, 0.0, 1.0}, targets)
}

func TestFailEndsAJob(t *testing.T) {
	c, d := config(t)
	j := newTestJob(t, c)
	d.step(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	bad := errors.New("bad")
	j.Fail(bad)
	j.Fail(errors.New("worse"))
	<-j.Ended()
	assert.ErrorIs(t, j.Err(), bad)
	spans, updates := j.Next(100, 100)
	assert.Empty(t, spans)
	assert.Empty(t, updates)
	j.Commit(nil, nil)
	assert.NoFileExists(t, filepath.Join(c.Out, stateDir, latestFile))
}

func TestNothingIsOfferedWhereNothingFits(t *testing.T) {
	c, _ := config(t)
	c.Eval = nil
	j := newTestJob(t, c)
	for _, room := range [][2]int{{0, 0}, {1, 8}, {64, 0}} {
		spans, updates := j.Next(room[0], room[1])
		assert.Empty(t, spans)
		assert.Empty(t, updates)
	}
	assert.False(t, j.Done())
}

func TestResultsThatDoNotFitEndTheJob(t *testing.T) {
	for _, f := range []func(picks [][]batch.Pick, norms []float64) ([][]batch.Pick, []float64){
		func(p [][]batch.Pick, n []float64) ([][]batch.Pick, []float64) { return p[1:], n },
		func(p [][]batch.Pick, n []float64) ([][]batch.Pick, []float64) { p[0] = p[0][1:]; return p, n },
		func(p [][]batch.Pick, n []float64) ([][]batch.Pick, []float64) { return p, nil },
	} {
		c, d := config(t)
		c.Eval = nil
		j := newTestJob(t, c)
		spans, updates := j.Next(1000, 1000)
		require.Len(t, updates, 1)
		var picks [][]batch.Pick
		for _, s := range spans {
			picks = append(picks, d[4].run(s))
		}
		j.Commit(f(picks, []float64{1}))
		assert.ErrorContains(t, j.Err(), "BUG")
	}
}

func TestNewJobErrors(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"--lr NaN: it takes a number above 0":         func(c *Config) { c.Settings.LR = math.NaN() },
		"--resume and --overwrite exclude each other": func(c *Config) { c.Resume, c.Overwrite = true, true },
		"--warmup 10: there are only 9 steps":         func(c *Config) { c.Settings.Warmup = 10 },
		"data/x.jsonl: line 2: the sequence has 35 tokens, but the context is 20: shorten it, or cut it off with --truncate": func(c *Config) { c.Context = 20 },
		"e.jsonl: no sequences: the file is empty":                                    func(c *Config) { c.Eval = &Dataset{Name: "e.jsonl"} },
		"d.jsonl: no sequences: the file is empty":                                    func(c *Config) { c.Data = &Dataset{Name: "d.jsonl"} },
		"resume: OUT: there is no checkpoint to resume: start a job with --overwrite": func(c *Config) { c.Resume = true },
		"--out OUT: the folder is not empty: go on with its job by --resume, or remove that by --overwrite": func(c *Config) {
			require.NoError(t, os.MkdirAll(filepath.Join(c.Out, "x"), 0o700))
		},
		"--out: open OUT: not a directory": func(c *Config) { require.NoError(t, os.WriteFile(c.Out, nil, 0o600)) },
	} {
		c, _ := config(t)
		change(&c)
		_, err := NewJob(c)
		require.Error(t, err, want)
		assert.Equal(t, want, strings.ReplaceAll(err.Error(), c.Out, "OUT"))
	}
}
