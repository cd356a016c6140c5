package cli

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/models"
	"loquetier/virtualmod"
)

// lane is a sequence of a benchmark.
type lane struct {
	slot   int
	blocks []int32
	tokens []int32
	next   int // position in tokens of what the next step computes
}

// workload is a benchmark's steps: the same number of tokens in each sequence.
type workload struct {
	*session
	lanes  []*lane
	labels string // of the benchmark's name
}

// measurement sums the steps of a run up.
type measurement struct {
	runs                      int // of which this is the median
	steps, tokens, dispatches int
	wall, record              time.Duration
	work                      vk.Work
	memory                    uint64 // most bytes of the device that were in use
}

// measureSteps runs steps of so many tokens each.
func measureSteps(steps, tokens int, step func() (engine.StepStats, error)) (measurement, error) {
	m := measurement{steps: steps, tokens: steps * tokens}
	start := time.Now()
	for range steps {
		stats, err := step()
		if err != nil {
			return m, err
		}
		m.dispatches += stats.Dispatches
		m.record += stats.Record
		m.work.Add(stats.Work)
	}
	m.wall = time.Since(start)
	return m, nil
}

// medianRun measures a number of runs, after one that prepares kernels, and
// returns the one of median time. Between two of them it ends where ctx does.
func medianRun(ctx context.Context, runs int, run func() (measurement, error)) (measurement, error) {
	var all []measurement
	for range 1 + runs {
		m, err := run()
		if err = firstError(err, ctx.Err()); err != nil {
			return m, err
		}
		all = append(all, m)
	}
	all = all[1:]
	slices.SortFunc(all, func(a, b measurement) int { return cmp.Compare(a.wall, b.wall) })
	m := all[(runs-1)/2]
	m.runs = runs
	return m, nil
}

// newWorkload makes n sequences of random tokens with room for length tokens,
// and gives them the slots in turn.
func (s *session) newWorkload(n, length int, slots []int) (*workload, error) {
	each := (length + batch.BlockSize - 1) / batch.BlockSize
	switch {
	case length > s.engine.Context():
		return nil, fmt.Errorf("sequences of %d tokens, but the context is %d", length, s.engine.Context())
	case n > s.engine.MaxRows():
		return nil, fmt.Errorf("--batch %d: a step takes at most %d rows", n, s.engine.MaxRows())
	case n*each > s.engine.CacheBlocks():
		return nil, fmt.Errorf("%d sequences of %d tokens do not fit %d tokens of cache", n, length, s.engine.CacheBlocks()*batch.BlockSize)
	}
	w := &workload{session: s}
	w.labels = fmt.Sprintf("%s/batch=%d/adapters=%d", s.options.label(), n, len(slots))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		l := &lane{slot: batch.Base}
		if len(slots) > 0 {
			l.slot = slots[i%len(slots)]
		}
		for range length {
			l.tokens = append(l.tokens, random.Int32N(int32(s.engine.Model().VocabSize)))
		}
		for b := range each {
			l.blocks = append(l.blocks, int32(i*each+b))
		}
		w.lanes = append(w.lanes, l)
	}
	slices.SortStableFunc(w.lanes, func(a, b *lane) int { return a.slot - b.slot })
	return w, nil
}

// benchSlots are the slots of the first k adapters.
func (s *session) benchSlots(k, rank int) ([]int, error) {
	names, err := s.benchAdapters(k, rank)
	if err != nil {
		return nil, err
	}
	var slots []int
	for _, name := range names {
		lease, err := s.lease(name)
		if err != nil {
			return nil, err
		}
		s.later(func() error {
			lease.Release()
			return nil
		})
		slots = append(slots, lease.Slot())
	}
	return slots, nil
}

// benchAdapters are the names of the first k adapters: those given, or random
// ones of a rank, or the embedded ones.
func (s *session) benchAdapters(k, rank int) ([]string, error) {
	if s.options.randomAdapters() {
		return s.addRandomAdapters(k, rank)
	}
	return s.options.firstAdapters(k)
}

// randomAdapters tells whether a benchmark makes its adapters.
func (o modelOptions) randomAdapters() bool { return o.shape != "" && len(o.adapters) == 0 }

// firstAdapters are the names of the first k of those given, or of the embedded ones.
func (o modelOptions) firstAdapters(k int) ([]string, error) {
	var names []string
	for _, a := range o.adapters {
		names = append(names, a.name)
	}
	if len(names) == 0 && o.model == stories {
		for _, a := range models.Adapters() {
			names = append(names, stories+"/"+a)
		}
	}
	if k > len(names) {
		return nil, fmt.Errorf("--adapters %d: only %d are given: add --adapter NAME=DIR", k, len(names))
	}
	return names[:k], nil
}

// addRandomAdapters registers k random adapters of all modules.
func (s *session) addRandomAdapters(k, rank int) ([]string, error) {
	targets, err := virtualmod.ParseTargets("all")
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range k {
		a, err := virtualmod.NewRandomAdapter(virtualmod.Spec{Rank: rank, Alpha: float64(2 * rank), Targets: targets}, s.engine.Model(), uint32(1+i))
		if err != nil {
			return nil, err
		}
		names = append(names, fmt.Sprintf("random-%d", 1+i))
		if err := s.base.Add(names[i], a); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// label names what a benchmark runs, as a part of its name.
func (o modelOptions) label() string {
	if o.shape != "" {
		return "shape=" + o.shape
	}
	return "model=" + benchName(o.model)
}

// benchName is a model's name as part of a benchmark's.
func benchName(model string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '/' || r == '=' {
			return '_'
		}
		return r
	}, filepath.Base(model))
}

// step computes the next n tokens of each sequence.
func (w *workload) step(n int) (engine.StepStats, error) {
	if err := w.start(n, false); err != nil {
		return engine.StepStats{}, err
	}
	_, err := w.engine.Wait()
	return w.engine.Stats(), err
}

// start begins a step of the next n tokens of each sequence. With fed each
// token is the one that the step in flight chooses.
func (w *workload) start(n int, fed bool) error {
	step := batch.Step{Spans: make([]batch.Span, len(w.lanes))}
	for i, l := range w.lanes {
		kind, tokens := batch.Prefill, l.tokens[l.next:l.next+n]
		if n == 1 {
			kind = batch.Decode
		}
		if fed {
			tokens = []int32{batch.Picked(i)}
		}
		step.Spans[i] = batch.Span{
			Kind: kind, Slot: l.slot, Position: l.next, Blocks: l.blocks, Tokens: tokens,
			Wants: []batch.Want{{Row: n - 1, Target: -1, Sampling: batch.Greedy()}},
		}
		l.next += n
	}
	return w.engine.Start(&step)
}

// measure measures runs of so many steps of n tokens a sequence. Each run
// begins where the first did.
func (w *workload) measure(ctx context.Context, runs, steps, n int) (measurement, error) {
	from := w.lanes[0].next
	m, err := medianRun(ctx, runs, func() (measurement, error) {
		w.rewind(from)
		step := func() (engine.StepStats, error) { return w.step(n) }
		if n == 1 {
			step = w.decode(steps)
		}
		return measureSteps(steps, n*len(w.lanes), step)
	})
	m.memory = w.device.Peak()
	return m, err
}

// read computes the first n tokens of each sequence.
func (w *workload) read(n int) error {
	for w.lanes[0].next < n {
		if _, err := w.step(min(n-w.lanes[0].next, max(1, w.engine.MaxRows()/len(w.lanes)))); err != nil {
			return err
		}
	}
	return nil
}

// rewind goes back to a position of each sequence.
func (w *workload) rewind(to int) {
	for _, l := range w.lanes {
		l.next = to
	}
}

// decode returns a function that ends the next of so many steps of one token
// a sequence. As when requests are served, the step behind it runs already by then, on
// the tokens that it has chosen.
func (w *workload) decode(steps int) func() (engine.StepStats, error) {
	started, ended := 0, 0
	return func() (engine.StepStats, error) {
		for ; started < min(steps, ended+engine.Depth); started++ {
			if err := w.start(1, started > 0); err != nil {
				return engine.StepStats{}, err
			}
		}
		ended++
		_, err := w.engine.Wait()
		return w.engine.Stats(), err
	}
}
