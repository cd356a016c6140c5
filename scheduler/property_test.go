package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"loquetier/engine/batch"
)

var errDevice = errors.New("device lost")

// reloaded is a slot into which other adapters are loaded again and again.
const reloaded = 2

// arrival is a request of a scenario.
type arrival struct {
	Request
	reload  bool          // first another adapter comes into the slot reloaded, if nobody uses it
	wait    time.Duration // after the arrival before it
	patient time.Duration // how long its caller stays
	do      bool          // first runs a function between steps
}

// scenario is a life of a scheduler.
type scenario struct {
	context, maxRows, cacheBlocks int
	trainRows, slices             int
	limits                        Limits
	targets                       Targets
	floor                         float64
	law                           law
	arrivals                      []arrival
	courses                       []*course
	failAt                        int           // the step whose run fails; -1: none
	stopAt                        time.Duration // when the scheduler is stopped; 0: when all must have ended
}

func drawScenario(rt *rapid.T) scenario {
	sc := scenario{
		context:     rapid.IntRange(1, 70).Draw(rt, "context"),
		maxRows:     rapid.IntRange(1, 40).Draw(rt, "max rows"),
		cacheBlocks: rapid.IntRange(1, 10).Draw(rt, "cache blocks"),
		failAt:      -1,
	}
	switch rapid.IntRange(0, 3).Draw(rt, "end") {
	case 0:
		sc.failAt = rapid.IntRange(0, 60).Draw(rt, "fail at step")
	case 1:
		sc.stopAt = time.Duration(rapid.IntRange(1, 60_000).Draw(rt, "stop at")) * time.Microsecond
	}
	if rapid.IntRange(0, 2).Draw(rt, "limits") == 0 {
		sc.limits = Limits{
			Queue: rapid.IntRange(0, 4).Draw(rt, "queue"),
			Wait:  time.Duration(rapid.IntRange(0, 20).Draw(rt, "longest wait")) * time.Millisecond,
		}
	}
	sc.drawTargets(rt)
	stems := rapid.SliceOfN(rapid.SliceOfN(rapid.Int32Range(0, vocab-1), sc.context, sc.context), 1, 2).Draw(rt, "stems")
	for range rapid.IntRange(1, 12).Draw(rt, "arrivals") {
		sc.arrivals = append(sc.arrivals, drawArrival(rt, stems, sc.context))
	}
	sc.drawCourses(rt)
	return sc
}

// drawTargets draws any targets, which may be out of reach, and a device.
func (sc *scenario) drawTargets(rt *rapid.T) {
	millisecond := func(name string) time.Duration {
		return time.Duration(rapid.IntRange(0, 20).Draw(rt, name)) * time.Millisecond
	}
	if rapid.Bool().Draw(rt, "targets") {
		sc.targets = Targets{TTFT: millisecond("time to first token"), ITL: millisecond("inter-token latency")}
	}
	sc.floor = rapid.SampledFrom([]float64{0, DefaultFloor, MaxFloor}).Draw(rt, "floor")
	sc.law = rapid.SampledFrom([]law{nil, gpu, software}).Draw(rt, "law")
}

// drawPrompt begins with a part of a stem, or with its own tokens.
func drawPrompt(rt *rapid.T, stems [][]int32, longest int) []int32 {
	stem := rapid.SampledFrom(stems).Draw(rt, "stem")
	stem = stem[:rapid.IntRange(0, longest).Draw(rt, "of the stem")]
	return slices.Concat(stem, rapid.SliceOfN(rapid.Int32Range(0, vocab-1), min(1, longest-len(stem)), longest-len(stem)+1).Draw(rt, "prompt"))
}

func drawArrival(rt *rapid.T, stems [][]int32, longest int) arrival {
	token := rapid.Int32Range(0, vocab-1)
	a := arrival{
		Request: Request{
			Slot:           rapid.SampledFrom([]int{batch.Base, 0, 1, 0, 1, reloaded, reloaded, damaged}).Draw(rt, "slot"),
			Prompt:         drawPrompt(rt, stems, longest),
			Priority:       rapid.SampledFrom([]int{0, 0, 0, 1, -2, MaxPriority}).Draw(rt, "priority"),
			MaxTokens:      longest + 2 - rapid.IntRange(0, longest+3).Draw(rt, "fewer tokens"),
			Sampling:       batch.Greedy(),
			Bias:           rapid.MapOfN(token, rapid.SampledFrom([]float32{0, -1, 2.5}), 0, 3).Draw(rt, "bias"),
			Stop:           rapid.SliceOfN(token, 0, 2).Draw(rt, "stop"),
			LogProbs:       rapid.IntRange(-1, 2).Draw(rt, "log-probs"),
			PromptLogProbs: max(-1, rapid.IntRange(-4, 2).Draw(rt, "prompt log-probs")),
		},
		wait:    time.Duration(rapid.IntRange(0, 5000).Draw(rt, "wait")) * time.Microsecond,
		patient: time.Hour, // longer than any scenario
		do:      rapid.Bool().Draw(rt, "do"),
		reload:  rapid.Bool().Draw(rt, "reload"),
	}
	a.Sampling.Seed = rapid.Uint64().Draw(rt, "seed")
	a.Sampling.Repetition = rapid.SampledFrom([]float32{1, 1.5}).Draw(rt, "repetition")
	a.Sampling.Presence = rapid.SampledFrom([]float32{0, 0.5}).Draw(rt, "presence")
	a.Sampling.Frequency = rapid.SampledFrom([]float32{0, 0.5}).Draw(rt, "frequency")
	if rapid.IntRange(0, 3).Draw(rt, "leaves") == 0 {
		a.patient = time.Duration(rapid.IntRange(1, 40_000).Draw(rt, "patience")) * time.Microsecond
	}
	return a
}

// accepted says whether a request can ever run.
func (sc *scenario) accepted(r Request) bool {
	if len(r.Prompt) == 0 || len(r.Prompt) > sc.context || r.MaxTokens < 0 || (r.MaxTokens == 0 && r.PromptLogProbs < 0) {
		return false
	}
	stored := min(max(len(r.Prompt), len(r.Prompt)+r.MaxTokens-1), sc.context)
	return stored <= sc.cacheBlocks*batch.BlockSize
}

// play lives the scenario and says what went wrong, and what there was.
// Nobody reads a stream before the end, which must delay nobody.
func (sc *scenario) play() (Stats, error) {
	m := newSim(sc.context, sc.maxRows, sc.cacheBlocks)
	m.trainRows, m.slices = sc.trainRows, sc.slices
	m.law = sc.law
	s := New(m, WithLimits(sc.limits), WithTargets(sc.targets), WithFloor(sc.floor))
	m.before = func(step int) error {
		if step == sc.failAt {
			return errDevice
		}
		return sound(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if sc.stopAt > 0 {
		time.AfterFunc(sc.stopAt, stop)
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()

	added := sc.addCourses(s)
	callers, errs := sc.arrive(s, m)
	time.Sleep(time.Minute)
	added.Wait()
	stop()
	err := <-ran
	if sc.failAt >= 0 && len(m.steps) == sc.failAt && errors.Is(err, errDevice) {
		err = nil
	}
	errs = append(errs, err, m.broken, atRest(s))
	for i, c := range callers {
		if c.stream == nil {
			continue
		}
		got, err := collect(c.stream)
		errs = append(errs, err, sc.judge(i, got, c.Err()))
		c.leave()
	}
	for _, c := range sc.courses {
		errs = append(errs, sc.grade(c))
	}
	return s.Stats(), errors.Join(errs...)
}

// caller is who waits for a stream; without one, its request was refused.
type caller struct {
	context.Context
	leave  context.CancelFunc
	stream <-chan Event
}

// arrive submits the requests, each at its time.
func (sc *scenario) arrive(s *Scheduler, m *sim) (callers []caller, errs []error) {
	for i := range sc.arrivals {
		a := &sc.arrivals[i]
		time.Sleep(a.wait)
		if a.reload {
			errs = append(errs, sc.stopped(s.Do(func() { reload(s, m) })))
		}
		if a.Slot == reloaded {
			errs = append(errs, sc.stopped(s.Do(func() { a.Version = m.versions[reloaded] })))
		}
		if a.do {
			errs = append(errs, sc.doBetweenSteps(s, m))
		}
		var c caller
		var err error
		c.Context, c.leave = context.WithTimeout(context.Background(), a.patient)
		c.stream, err = s.Submit(c, a.Request)
		closed, full := errors.Is(err, ErrClosed), errors.Is(err, ErrQueueFull)
		if closed && !sc.cutShort() || full && sc.limits.Queue == 0 || !closed && !full && (err == nil) != sc.accepted(a.Request) {
			errs = append(errs, fmt.Errorf("request %d: Submit says %w", i, err))
		}
		callers = append(callers, c)
	}
	return callers, errs
}

// cutShort says whether the scheduler may stop before all have ended.
func (sc *scenario) cutShort() bool { return sc.stopAt > 0 || sc.failAt >= 0 }

// stopped is err unless it says that the scheduler has stopped, as it may.
func (sc *scenario) stopped(err error) error {
	if errors.Is(err, ErrClosed) && sc.cutShort() {
		return nil
	}
	return err
}

// reload loads another adapter, unless the one that is there is in use.
func reload(s *Scheduler, m *sim) {
	used := func(q *sequence) bool { return q.Slot == reloaded }
	if slices.ContainsFunc(s.running, used) || slices.ContainsFunc(queued(s), used) {
		return
	}
	m.versions[reloaded]++
}

// queued are the requests that wait.
func queued(s *Scheduler) (all []*sequence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, waiting := range s.waiting.lanes {
		all = append(all, waiting...)
	}
	return all
}

func (sc *scenario) doBetweenSteps(s *Scheduler, m *sim) error {
	calls, busy := 0, false
	err := s.Do(func() { calls++; busy = len(m.flying) > 0 })
	if busy || (err == nil) != (calls == 1) || (err != nil && (!errors.Is(err, ErrClosed) || !sc.cutShort())) {
		return fmt.Errorf("Do made %d calls, in a step: %t: %w", calls, busy, err)
	}
	return nil
}

// judge compares an outcome with the isolated run; a stream that was cut off
// holds a part of it.
func (sc *scenario) judge(i int, got outcome, left error) error {
	want := isolated(sc.arrivals[i].Request, sc.context)
	cut := got.Finish == Failed && !errors.Is(got.Err, ErrNotFinite)
	if cut {
		reason := errors.Is(got.Err, ErrClosed) && sc.stopAt > 0 ||
			errors.Is(got.Err, errDevice) && sc.failAt >= 0 ||
			left != nil && errors.Is(got.Err, left) ||
			errors.Is(got.Err, ErrWaitedTooLong) && sc.limits.Wait > 0 && len(got.Tokens) == 0
		if !reason || len(got.Tokens) > len(want.Tokens) {
			return fmt.Errorf("request %d ended after %d of %d tokens: %w", i, len(got.Tokens), len(want.Tokens), got.Err)
		}
		want.Tokens, want.Finish, want.Err = want.Tokens[:len(got.Tokens)], Failed, got.Err
		if len(got.Tokens) == 0 && got.Prompt == nil {
			want.Prompt = nil
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateErrors(), cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("request %d differs from its isolated run (-want +got):\n%s", i, diff)
	}
	return nil
}

// collect reads a stream that has ended and checks its form.
func collect(stream <-chan Event) (outcome, error) {
	var out outcome
	for at := 0; ; at++ {
		var e Event
		open := false
		select {
		case e, open = <-stream:
		default:
			return out, fmt.Errorf("the stream is still open after %d events", at)
		}
		if !open {
			break
		}
		if out.Finish != "" || (e.Prompt != nil && at > 0) || (e.Token != nil && e.Finish != "") || (e.Err != nil) != (e.Finish == Failed) {
			return out, fmt.Errorf("event %d is out of order: %+v", at, e)
		}
		if e.Prompt != nil {
			out.Prompt = e.Prompt
		}
		if e.Token != nil {
			out.Tokens = append(out.Tokens, *e.Token)
		}
		out.Finish, out.Err = e.Finish, e.Err
	}
	if out.Finish == "" {
		return out, errors.New("the stream has no end")
	}
	return out, nil
}

// TestAnyLife holds every rule at once over random arrivals, lengths, sizes,
// beginnings in common, priorities, limits, departures, failures and stops, beside
// random training.
func TestAnyLife(t *testing.T) {
	var preempted, reused uint64
	// A round may by chance have no case with a preemption or a shared prefix.
	for round := 0; round < 20 && (preempted == 0 || reused == 0); round++ {
		rapid.Check(t, func(rt *rapid.T) {
			sc := drawScenario(rt)
			var stats Stats
			var err error
			synctest.Test(t, func(*testing.T) { stats, err = sc.play() })
			if err != nil {
				rt.Fatal(err)
			}
			preempted, reused = preempted+stats.Preempted, reused+stats.PrefixTokens
		})
	}
	assert.Positive(t, preempted, "preemptions were tried")
	assert.Positive(t, reused, "prefixes were reused")
}
