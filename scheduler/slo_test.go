package scheduler

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"loquetier/engine/batch"
)

// newJob is a source that never ends, of sequences of up to so many tokens.
func newJob(slot, longest int) *treadmill {
	return &treadmill{slot: slot, every: 4, shortest: longest / 2, longest: longest, random: rand.New(rand.NewPCG(uint64(slot), 9))}
}

// chats is a load of so many requests a second with one job beside it.
func chats(device law, rate float64, longest int) *trial {
	rows := 4 * longest
	return &trial{
		runner: newPaced(device, max(1024, rows), rows, 32, 3000), targets: DefaultTargets(), floor: DefaultFloor,
		jobs: []*treadmill{newJob(7, longest)}, rate: steady(rate), lasts: 30 * time.Second,
		prompt: [2]int{50, 450}, output: [2]int{20, 120}, adapters: 4, seed: 5,
	}
}

// scattered lets steps take up to a fifth longer or shorter than the law says.
func (tr *trial) scattered() *trial {
	tr.runner.scatter, tr.runner.random = 0.1, rand.New(rand.NewPCG(1, 2))
	return tr
}

// in runs a trial by a clock of its own.
func (tr *trial) in(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { require.NoError(t, tr.run()) })
	for i, v := range tr.visits {
		if v.ends != 1 {
			t.Errorf("request %d has %d ends", i, v.ends)
		}
	}
}

// late is the number of steps with decode rows that took longer than the
// target, though training was not forced on them.
func (tr *trial) late(from time.Duration) (n int) {
	for _, d := range tr.decisions {
		if d.Time.Sub(tr.decisions[0].Time) >= from && d.Decode > 0 && d.Limit != LimitFloor && d.Measured > milliseconds(tr.targets.ITL.Seconds()) {
			n++
		}
	}
	return n
}

// TestTargetsHold: the targets hold on devices of several kinds from the first
// request on, with nothing known of the device, and training gets nearly all that is left.
func TestTargetsHold(t *testing.T) {
	short := Targets{TTFT: time.Second, ITL: 60 * time.Millisecond}
	for name, c := range map[string]struct {
		*trial
		targets Targets
		share   float64 // of time that training gets at least
	}{
		"gpu":                 {chats(gpu, 2.5, 1024), DefaultTargets(), 0.9},
		"gpu, scattered":      {chats(gpu, 2.5, 1024).scattered(), DefaultTargets(), 0.85},
		"gpu, short":          {chats(gpu, 2.5, 256), short, 0.7},
		"gpu, busy":           {chats(gpu, 20, 1024), DefaultTargets(), 0.65},
		"software":            {chats(software, 0.7, 128), DefaultTargets(), 0.75},
		"software, scattered": {chats(software, 0.7, 128).scattered(), DefaultTargets(), 0.7},
		"no training":         {chats(gpu, 20, 0), DefaultTargets(), 0},
	} {
		t.Run(name, func(t *testing.T) {
			c.trial.targets = c.targets
			if c.share == 0 {
				c.jobs = nil
			}
			c.in(t)
			t.Logf("%d requests, first tokens %v %v, others %v %v, training %.3f", len(c.visits), quantile(c.firsts(), 0.5), quantile(c.firsts(), 1),
				quantile(c.gaps(), 0.5), quantile(c.gaps(), 1), c.totals.TrainingShare())
			assert.LessOrEqual(t, quantile(c.firsts(), 1), c.targets.TTFT)
			assert.LessOrEqual(t, c.late(0), len(c.decisions)/100)
			assert.GreaterOrEqual(t, float64(c.totals.Next.InTime), 0.995*float64(c.totals.Next.All))
			assert.Equal(t, c.totals.First.All, c.totals.First.InTime)
			assert.GreaterOrEqual(t, c.totals.TrainingShare(), c.share)
			assert.InDelta(t, c.training(0, time.Hour), c.totals.TrainingShare(), 0.05, "what the totals say is so")
		})
	}
}

// TestNewcomer: a request that comes while training has the machine gets its
// first token in time, whenever it comes.
func TestNewcomer(t *testing.T) {
	for name, tr := range map[string]*trial{"gpu": chats(gpu, 0.5, 1024), "software": chats(software, 0.5, 256)} {
		t.Run(name, func(t *testing.T) {
			tr.lasts, tr.output = 100*time.Second, [2]int{1, 2}
			tr.in(t)
			require.Greater(t, len(tr.visits), 30)
			assert.LessOrEqual(t, quantile(tr.firsts(), 1), tr.targets.TTFT)
			assert.Greater(t, tr.totals.TrainingShare(), 0.8)
			longest := 0.0
			for _, d := range tr.decisions {
				longest = max(longest, d.Measured)
			}
			assert.Greater(t, longest, 300.0, "steps alone are long")
		})
	}
}

// TestTrainingTakesTheMachineBack: within a second of the end of a burst
// training has the machine, and its old pace.
func TestTrainingTakesTheMachineBack(t *testing.T) {
	for name, tr := range map[string]*trial{"gpu": chats(gpu, 0, 512), "software": chats(software, 0, 64)} {
		t.Run(name, func(t *testing.T) {
			tr.rate = func(at time.Duration) float64 {
				switch {
				case at < 10*time.Second || at > 20*time.Second:
					return 0
				case name == "gpu":
					return 25
				}
				return 2
			}
			tr.output = [2]int{1, 30}
			tr.in(t)
			begun := tr.decisions[0].Time
			quiet := 20 * time.Second
			for _, d := range tr.decisions {
				if d.Running > 0 {
					quiet = d.Time.Sub(begun)
				}
			}
			require.Less(t, quiet, 29*time.Second)
			assert.Greater(t, tr.training(5*time.Second, 10*time.Second), 0.99)
			assert.Less(t, tr.training(11*time.Second, 20*time.Second), 0.9)
			back := tr.training(quiet+time.Second, time.Hour)
			assert.Greater(t, back, 0.99)
		})
	}
}

// TestFloor: where requests could use all of the machine training keeps its
// share of it, and none where it is told so.
func TestFloor(t *testing.T) {
	for _, c := range []struct {
		name  string
		law   law
		rate  float64
		job   int
		floor float64
	}{{"gpu", gpu, 40, 512, 0}, {"gpu", gpu, 40, 512, DefaultFloor}, {"software", software, 6, 64, 0}, {"software", software, 6, 64, 0.2}} {
		floor := c.floor
		t.Run(fmt.Sprint(c.name, " ", floor), func(t *testing.T) {
			tr := chats(c.law, c.rate, c.job)
			tr.floor, tr.lasts = floor, 60*time.Second
			tr.targets.ITL = 20 * time.Millisecond // out of reach beside training
			tr.in(t)
			const window = 3 * floorWindow * time.Second // of which the debt may be a third
			for from := window / 3; from+window <= tr.lasts; from += window / 3 {
				got := tr.training(from, from+window)
				if floor == 0 {
					assert.LessOrEqual(t, got, 0.02, "from %v on", from)
					continue
				}
				assert.GreaterOrEqual(t, got, 0.5*floor, "from %v on", from)
				assert.LessOrEqual(t, got, 1.34*floor+0.02, "from %v on", from)
			}
			if floor > 0 {
				assert.GreaterOrEqual(t, tr.training(0, tr.lasts), floor*(1-2*floorWindow/tr.lasts.Seconds()), "two windows' share may be owed at the end")
			}
		})
	}
}

// TestFloorFindsRoom: training that is owed time gets rows and cache blocks
// from requests that would fill them for ever.
func TestFloorFindsRoom(t *testing.T) {
	for name, c := range map[string]struct{ rows, blocks int }{"rows": {40, 4000}, "blocks": {1024, 200}} {
		t.Run(name, func(t *testing.T) {
			tr := chats(gpu, 60, 32)
			tr.runner = newPaced(gpu, c.rows, 32, 8, c.blocks)
			tr.jobs = []*treadmill{newJob(7, 32)}
			tr.prompt, tr.output = [2]int{20, 60}, [2]int{50, 100}
			tr.in(t)
			const window = 2 * floorWindow * time.Second
			assert.Greater(t, tr.training(0, window), 0.0)
			assert.Greater(t, tr.training(window, window+window/2), 0.0)
		})
	}
}

// TestFirstTokensComeBeforeTraining: a first token that is due before the
// target's time is over leaves training no more than the time until then.
func TestFirstTokensComeBeforeTraining(t *testing.T) {
	s := New(newPaced(gpu, 128, 128, 32, 100), WithTargets(DefaultTargets()))
	for _, c := range []struct{ slack, want float64 }{{1, 0.2}, {0.05, 0.05}, {-1, 0}} {
		assert.Equal(t, c.want, s.ration(&flight{target: 0.2, pace: 1, slack: c.slack}).target)
	}
	s.running = []*sequence{
		{Request: ask(0, 100, 9), arrived: time.Now().Add(-1900 * time.Millisecond)},
		{Request: ask(0, 100, 9), arrived: time.Now()},
	}
	assert.InDelta(t, 0.1, s.slack(&flight{started: time.Now()}), 0.02)
	s.cost.Seconds[mixRows] = 1e-3
	assert.Less(t, s.slack(&flight{started: time.Now()}), 0.02, "its prompt takes a tenth of a second")
}

// TestLongSequencesHaveTheirTurn: a job whose sequences take longer than the
// targets leave moves on although another's would always fit.
func TestLongSequencesHaveTheirTurn(t *testing.T) {
	tr := chats(gpu, 4, 1024)
	tr.targets.ITL = 40 * time.Millisecond
	tr.jobs = []*treadmill{newJob(7, 32), newJob(8, 1024)}
	tr.jobs[1].shortest = 900
	tr.in(t)
	assert.Greater(t, tr.jobs[0].rows, 1000)
	assert.Greater(t, tr.jobs[1].updates, 1)
}

// TestNothingBeginsWhileRequestsWait: without a floor training begins nothing
// that would hold cache blocks for which requests wait.
func TestNothingBeginsWhileRequestsWait(t *testing.T) {
	tr := chats(gpu, 30, 64)
	tr.runner = newPaced(gpu, 1024, 256, 8, 200)
	tr.floor, tr.lasts = 0, 5*time.Second
	tr.in(t)
	waited := 0
	for _, d := range tr.decisions {
		if d.Waiting > 0 {
			waited++
			assert.Zero(t, d.Train)
		}
	}
	assert.Greater(t, waited, 100)
}

// TestJobsThatEndInMidPass: a source that ends while its pass runs, by itself
// or by somebody's hand, stops nothing: the pass is run, without its updates, and the
// other's work counts.
func TestJobsThatEndInMidPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newPaced(gpu, 512, 512, 200, 200)
		s := New(m, WithTargets(Targets{TTFT: 200 * time.Millisecond}))
		stop := begin(s)
		ends, stays := newJob(1, 200), newJob(2, 100)
		ends.every, stays.every = 1, 1
		require.NoError(t, s.Train(ends))
		require.NoError(t, s.Train(stays))
		stream, err := s.Submit(t.Context(), ask(0, 10, 2000))
		require.NoError(t, err)
		pending, rows, updates := false, 0, 0
		for range 1000 {
			if pending {
				break
			}
			time.Sleep(time.Millisecond)
			require.NoError(t, s.Do(func() {
				its := func(w *work) bool { return w.source.Source == ends }
				pending = s.pass != nil && s.pass.left > 0 && slices.ContainsFunc(s.pass.works, its)
				ends.stopped = pending
				rows, updates = ends.rows, stays.updates
			}))
		}
		assert.True(t, pending, "it was caught in mid-pass")
		time.Sleep(time.Second)
		require.NoError(t, s.DoBetweenPasses(func() {
			assert.Nil(t, s.pass)
			assert.Equal(t, rows, ends.rows, "it is not answered any more")
			assert.Equal(t, ends.updates, m.updated[1], "nor updated")
			assert.Equal(t, stays.updates, m.updated[2])
			assert.Greater(t, stays.updates, updates+2)
			stays.stopped = true
		}))
		assert.Equal(t, Length, last(stream).Finish)
		require.NoError(t, stop())
		require.NoError(t, m.broken)
		require.NoError(t, atRest(s))
	})
}

// TestAPassEndsForWhoWaitsForIt: a pass of which nothing fits beside requests any more,
// and that has no floor, goes on where somebody waits for its end.
func TestAPassEndsForWhoWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, job := newPaced(gpu, 2048, 2048, 32, 2000), newJob(7, 2048)
		s := New(m, WithTargets(Targets{TTFT: 40 * time.Millisecond, ITL: 10 * time.Millisecond}), WithFloor(0))
		stop := begin(s)
		require.NoError(t, s.Train(job))
		pending := func() (left int) {
			require.NoError(t, s.Do(func() {
				if s.pass != nil {
					left = s.pass.left
				}
			}))
			return left
		}
		time.Sleep(5 * time.Second)
		for range 1000 { // until one comes in mid-pass
			if time.Sleep(time.Millisecond); pending() > 10 {
				break
			}
		}
		stream, err := s.Submit(t.Context(), ask(0, 10, 2000))
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NotZero(t, pending(), "nothing of it fits")
		begun := time.Now()
		require.NoError(t, s.DoBetweenPasses(func() {
			assert.Len(t, s.running, 1, "the request goes on")
			job.stopped = true
		}))
		assert.Less(t, time.Since(begun), 3*time.Second)
		assert.Equal(t, Length, last(stream).Finish)
		require.NoError(t, stop())
		require.NoError(t, m.broken)
	})
}

// TestADeviceBecomesSlower: a device that halves its speed, as a hot one does,
// makes steps late for a moment only.
func TestADeviceBecomesSlower(t *testing.T) {
	tr := chats(nil, 2.5, 512)
	var begun time.Time
	tr.runner.law = func(x *mix) float64 {
		if begun.IsZero() {
			begun = time.Now()
		}
		if time.Since(begun) > 15*time.Second {
			return 2 * gpu(x)
		}
		return gpu(x)
	}
	tr.in(t)
	assert.LessOrEqual(t, tr.late(17*time.Second), 2)
	assert.LessOrEqual(t, tr.late(0), 8)
	assert.Greater(t, tr.training(17*time.Second, 30*time.Second), 0.8)
}

// TestWhatWasKnownIsUsed: with what another run has learned, training has its
// pace from the first step on.
func TestWhatWasKnownIsUsed(t *testing.T) {
	first := chats(gpu, 2.5, 1024)
	first.in(t)
	data, err := json.Marshal(first.known)
	require.NoError(t, err)
	cost, err := LoadCost(data)
	require.NoError(t, err)

	again := chats(gpu, 2.5, 1024)
	again.cost, again.lasts = cost, 5*time.Second
	again.in(t)
	assert.Zero(t, again.late(0))
	most := 0
	for _, d := range again.decisions[:8] {
		most = max(most, d.Train)
	}
	assert.Greater(t, most, 2000)
}

// TestJobsShareByWeight: jobs that could each use everything get rows by their
// weights, and one that wants little gets all of it.
func TestJobsShareByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newPaced(gpu, 1024, 512, 8, 1000)
		s := New(m, WithTargets(DefaultTargets()))
		stop := begin(s)
		one, three, modest := newJob(1, 400), newJob(2, 300), newJob(3, 20)
		modest.every = 1
		require.NoError(t, s.TrainWeighted(one, 1))
		require.NoError(t, s.TrainWeighted(three, 3))
		require.NoError(t, s.Train(modest))
		assert.EqualError(t, s.TrainWeighted(newJob(4, 20), 0), "weight 0 of a training job: it takes a number greater than 0")
		time.Sleep(time.Minute)
		require.NoError(t, s.DoBetweenPasses(func() {
			require.NoError(t, errors.Join(one.failed, three.failed, modest.failed))
			assert.InEpsilon(t, 3, float64(three.rows)/float64(one.rows), 0.15)
			assert.Greater(t, modest.updates, (one.updates+three.updates)*4/2, "it is in every pass, or nearly")
			one.stopped, three.stopped, modest.stopped = true, true, true
		}))
		require.NoError(t, stop())
		require.NoError(t, m.broken)
		require.NoError(t, atRest(s))
	})
}

// TestDecisions: each step is told, with all that was in it.
func TestDecisions(t *testing.T) {
	tr := chats(gpu, 2.5, 512)
	tr.lasts = 5 * time.Second
	tr.in(t)
	var rows Rows
	limits := map[Limit]bool{}
	for _, d := range tr.decisions {
		rows.Train += uint64(d.Train)
		rows.Eval += uint64(d.Eval)
		rows.Prefill += uint64(d.Prefill)
		rows.Decode += uint64(d.Decode)
		limits[d.Limit] = true
		assert.Positive(t, d.Measured)
	}
	assert.GreaterOrEqual(t, rows.Train, tr.totals.Rows.Train)
	assert.GreaterOrEqual(t, rows.Prefill, tr.totals.Rows.Prefill)
	assert.InDelta(t, tr.totals.Rows.Decode, rows.Decode, 10, "but for the last steps")
	assert.True(t, limits[LimitTarget] && limits[LimitNothing], "%v", limits)
	line, err := json.Marshal(tr.decisions[len(tr.decisions)/2])
	require.NoError(t, err)
	for _, key := range []string{"time", "decode", "prefill", "eval", "train", "slices", "updates", "limit", "predicted_ms", "bound_ms", "target_ms", "measured_ms", "running", "waiting", "owed_ms"} {
		assert.Contains(t, string(line), `"`+key+`":`)
	}
}

func TestNonsenseTargets(t *testing.T) {
	for _, c := range []struct {
		targets Targets
		err     string
	}{
		{DefaultTargets(), ""},
		{Targets{}, ""},
		{Targets{TTFT: -time.Second}, "time to first token -1s: it takes a duration, or 0 for no target"},
		{Targets{ITL: -time.Second}, "inter-token latency -1s: it takes a duration, or 0 for no target"},
		{Targets{TTFT: time.Millisecond, ITL: time.Second}, "the first token in 1ms is sooner than the next in 1s: the first takes a step at least"},
	} {
		if err := c.targets.Check(); c.err == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, c.err)
		}
	}
	for _, share := range []float64{0, DefaultFloor, MaxFloor} {
		assert.NoError(t, CheckFloor(share))
	}
	for _, share := range []float64{-0.1, 0.51, 2} {
		assert.ErrorContains(t, CheckFloor(share), "it takes a share of time from 0 to 0.5")
	}
}

// TestAnyLoad: whatever the device, the load and the jobs, every request ends
// once, nothing leaks, no step is late but where decode rows alone take as long, where training
// was owed time, or by what no one could know yet; and training moves on.
func TestAnyLoad(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scale := rapid.SampledFrom([]float64{0.3, 1, 3}).Draw(rt, "scale")
		base := rapid.SampledFrom([]law{gpu, software}).Draw(rt, "device")
		device := func(x *mix) float64 { return scale * base(x) }
		longest := rapid.IntRange(8, 300).Draw(rt, "longest sequence")
		tr := chats(device, rapid.Float64Range(0.5, 8).Draw(rt, "rate"), longest)
		tr.runner = newPaced(device, max(512, 2*longest), 2*longest, rapid.IntRange(1, 32).Draw(rt, "slices"), rapid.IntRange(60, 1000).Draw(rt, "blocks"))
		if rapid.Bool().Draw(rt, "scattered") {
			tr.scattered()
		}
		tr.jobs = nil
		for i := range rapid.IntRange(0, 3).Draw(rt, "jobs") {
			tr.jobs = append(tr.jobs, newJob(7+i, longest))
		}
		tr.targets.ITL = time.Duration(rapid.IntRange(10, 500).Draw(rt, "inter-token latency")) * time.Millisecond
		tr.prompt, tr.output = [2]int{1, rapid.IntRange(1, 300).Draw(rt, "longest prompt")}, [2]int{1, rapid.IntRange(1, 60).Draw(rt, "longest output")}
		tr.leave, tr.seed, tr.lasts = rapid.Float64Range(0, 0.5).Draw(rt, "leaving"), rapid.Uint64().Draw(rt, "seed"), 5*time.Second
		synctest.Test(t, func(*testing.T) {
			if err := tr.run(); err != nil {
				rt.Fatal(err)
			}
		})
		for i, v := range tr.visits {
			if v.ends != 1 {
				rt.Fatalf("request %d has %d ends", i, v.ends)
			}
		}
		tr.checkSteps(rt)
	})
}

// checkSteps checks that steps were in time where they could be.
func (tr *trial) checkSteps(rt *rapid.T) {
	late, could := 0, 0
	for _, d := range tr.decisions {
		var least mix
		for range d.Decode {
			least.add(batch.Decode, 400, 1, 1)
		}
		least.add(batch.Prefill, 400, batch.BlockSize, 1)
		target := tr.targets.ITL.Seconds()
		if d.Decode == 0 || d.Limit == LimitFloor || 2*tr.runner.law(&least) > target {
			continue
		}
		could++
		if d.Measured > 1050*target {
			late++
		}
	}
	if late > 5+could/50 {
		rt.Fatalf("%d of %d steps were late", late, could)
	}
	if len(tr.jobs) > 0 && len(tr.decisions) > 100 && tr.trained() == 0 {
		rt.Fatalf("the jobs had nothing in %d steps", len(tr.decisions))
	}
}
