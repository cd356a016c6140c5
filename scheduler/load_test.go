package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"loquetier/engine/batch"
)

// paced is a runner that takes its time by the sim's law and checks what
// concerns more than one span, but computes nothing, so that it can run for minutes.
type paced struct {
	*sim
	updated map[int]int // by slot: its updates
}

func newPaced(law law, rows, trainRows, slices, blocks int) *paced {
	m := newSim(4096, rows, blocks)
	m.trainRows, m.slices, m.law = trainRows, slices, law
	return &paced{m, map[int]int{}}
}

func (m *paced) Wait() (*batch.Result, error) {
	f := m.flying[0]
	time.Sleep(time.Until(f.ends))
	m.flying = m.flying[1:]
	if f.err != nil {
		return nil, f.err
	}
	if err := m.checkStep(f.step); err != nil {
		m.broken = errors.Join(m.broken, err)
	}
	for _, u := range f.step.Updates {
		m.updated[u.Slot]++
	}
	result := &batch.Result{Picks: make([][]batch.Pick, len(f.step.Spans)), Norms: make([]float64, len(f.step.Updates))}
	for i, span := range f.step.Spans {
		result.Picks[i] = make([]batch.Pick, len(span.Wants))
	}
	return result, nil
}

// treadmill is a source that never ends: sequences of random lengths, with an
// update after every so many.
type treadmill struct {
	slot, every       int
	shortest, longest int
	random            *rand.Rand
	length            int // of the next sequence; 0: not drawn
	since             int // the last update
	offered           int // sequences
	tokens            int // of the last offer
	rows              int // answered
	updates           int
	stopped           bool
	failed            error
}

func (t *treadmill) Next(rows, blocks int) (spans []batch.Span, updates []batch.Update) {
	t.tokens = 0
	for t.since+len(spans) < t.every {
		if t.length == 0 {
			t.length = t.shortest + t.random.IntN(t.longest-t.shortest+1)
		}
		need := blocksFor(t.length)
		if t.length > rows || need > blocks {
			break
		}
		rows, blocks = rows-t.length, blocks-need
		spans = append(spans, batch.Span{Kind: batch.Train, Slot: t.slot, Tokens: make([]int32, t.length), Wants: []batch.Want{{Row: 0, Target: 1}}})
		t.tokens += t.length
		t.length = 0
	}
	if t.offered = len(spans); t.offered > 0 && t.since+t.offered == t.every {
		updates = []batch.Update{{Slot: t.slot, Targets: 1, Step: t.updates + 1}}
	}
	return spans, updates
}

func (t *treadmill) Commit(picks [][]batch.Pick, norms []float64) {
	if len(picks) != t.offered {
		t.failed = fmt.Errorf("%d answers to %d sequences", len(picks), t.offered)
	}
	t.rows += t.tokens
	t.since += t.offered
	if len(norms) > 0 {
		t.since, t.updates = 0, t.updates+1
	}
}

func (t *treadmill) Fail(err error) { t.failed = err }
func (t *treadmill) Done() bool     { return t.failed != nil || t.stopped }

// trial is a load on a scheduler.
type trial struct {
	runner    *paced
	targets   Targets
	floor     float64
	cost      Cost // Version 0: unknown
	jobs      []*treadmill
	rate      func(at time.Duration) float64 // requests/s
	lasts     time.Duration
	prompt    [2]int // tokens, from and to
	output    [2]int
	adapters  int
	seed      uint64
	leave     float64 // share of the callers who go early
	decisions []Decision
	visits    []*reader
	totals    Totals
	known     Cost
	script    []asked // instead of the rate and lengths, where set
	then      then
}

// then is what had been done when no more requests came.
type then struct {
	trained int     // rows
	nominal float64 // s that its steps take on a device that keeps its speed
	rows    Rows
}

// asked is a request that comes at a time.
type asked struct {
	at             time.Duration
	prompt, output int
}

// reader is what a request lived through.
type reader struct {
	came, first time.Duration // since the start
	gaps        []time.Duration
	tokens      int
	end         Event
	ends        int
}

func steady(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

// run plays the load and returns what broke.
func (tr *trial) run() error {
	options := []Option{WithTargets(tr.targets), WithFloor(tr.floor), WithDecisions(func(d Decision) { tr.decisions = append(tr.decisions, d) })}
	if tr.cost.Version > 0 {
		options = append(options, WithCost(tr.cost))
	}
	s := New(tr.runner, options...)
	stop := begin(s)
	for _, j := range tr.jobs {
		if err := s.Train(j); err != nil {
			return err
		}
	}
	errs := tr.arrive(s)
	tr.totals, tr.known = s.Totals(), s.Cost()
	errs = append(errs, s.DoBetweenPasses(func() {
		for _, j := range tr.jobs {
			j.stopped = true
			errs = append(errs, j.failed)
		}
	}))
	errs = append(errs, stop(), tr.runner.broken, atRest(s))
	return errors.Join(errs...)
}

// arrive lets requests come at random until time is up, and all of them end.
func (tr *trial) arrive(s *Scheduler) (errs []error) {
	random := rand.New(rand.NewPCG(tr.seed, 1))
	between := func(r [2]int) int { return r[0] + random.IntN(r[1]-r[0]+1) }
	begun := time.Now()
	var visits sync.WaitGroup
	submit := func(ctx context.Context, leave func(), prompt, output int) error {
		v := &reader{came: time.Since(begun)}
		request := ask(random.IntN(max(1, tr.adapters)), prompt, output)
		request.Prompt[0] = int32(len(tr.visits)) // no two begin alike
		stream, err := s.Submit(ctx, request)
		if err != nil {
			leave()
			return err
		}
		tr.visits = append(tr.visits, v)
		visits.Go(func() {
			defer leave()
			v.listen(stream, begun)
		})
		return nil
	}
	for _, a := range tr.script {
		time.Sleep(time.Until(begun.Add(a.at)))
		errs = append(errs, submit(context.Background(), func() {}, a.prompt, a.output))
	}
	for time.Since(begun) < tr.lasts {
		rate := tr.rate(time.Since(begun))
		if rate == 0 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		time.Sleep(after(random.ExpFloat64() / rate))
		ctx, leave := context.WithCancel(context.Background())
		if random.Float64() < tr.leave {
			time.AfterFunc(after(random.Float64()*5), leave)
		}
		errs = append(errs, submit(ctx, leave, between(tr.prompt), between(tr.output)))
	}
	errs = append(errs, s.Do(func() {
		tr.then = then{tr.trained(), tr.runner.nominal, s.totals.Rows}
	}))
	visits.Wait()
	return errs
}

func (v *reader) listen(stream <-chan Event, begun time.Time) {
	var last time.Time
	for e := range stream {
		if e.Token != nil {
			if v.tokens == 0 {
				v.first = time.Since(begun) - v.came
			} else {
				v.gaps = append(v.gaps, time.Since(last))
			}
			last = time.Now()
			v.tokens++
		}
		if e.Finish != "" {
			v.end = e
			v.ends++
		}
	}
}

func (tr *trial) firsts() (all []time.Duration) {
	for _, v := range tr.visits {
		if v.tokens > 0 {
			all = append(all, v.first)
		}
	}
	return all
}

func (tr *trial) gaps() (all []time.Duration) {
	for _, v := range tr.visits {
		all = append(all, v.gaps...)
	}
	return all
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// trained is the number of training rows that were answered.
func (tr *trial) trained() (rows int) {
	for _, j := range tr.jobs {
		rows += j.rows
	}
	return rows
}

// training is the share of a stretch of time that training took by the
// device's law, of steps as the decisions tell them.
func (tr *trial) training(from, until time.Duration) float64 {
	begun := tr.decisions[0].Time
	var all, training float64
	for i, d := range tr.decisions {
		if at := d.Time.Sub(begun); at < from || at >= until {
			continue
		}
		all += d.Measured
		training += tr.runner.parts[i] * d.Measured
	}
	if all == 0 {
		return 0
	}
	return training / all
}
