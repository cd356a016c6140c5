package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"loquetier/engine/batch"
	"loquetier/scheduler"
	"loquetier/virtualmod"
)

func benchSwapCommand() *cli.Command {
	return &cli.Command{
		Name: "swap", Usage: "measure how adapters come, go and are published, and jobs' states read and put back, while streams run, and what that costs the streams' steps",
		Flags: servingFlags(
			&cli.IntFlag{Name: "piece", DefaultText: "4096", Usage: "`N` KiB of an adapter are copied between two steps"},
			&cli.IntFlag{Name: "quiet", Value: 30, Usage: "`N` steps before the measurement, and between two changes"},
			countFlag(4),
		),
		Description: "loquetier bench swap --shape 8b --batch 32 --adapters 32 --rank 16",
		Action:      benchSwap,
	}
}

// Of the streams that run meanwhile.
const (
	swapPrompt = 16
	swapTokens = 4000
	swapSpare  = 3 // slots that the streams do not need; one more adapter than that takes turns in them
)

func benchSwap(c *cli.Context) error {
	o, err := modelOptionsOf(c)
	if err != nil {
		return err
	}
	if err := firstError(checkBench(c, "quiet", "batch", "count"), checkAdapters(c)); err != nil {
		return err
	}
	if c.IsSet("slots") {
		return usagef("--slots: bench swap makes as many as it measures: see --adapters")
	}
	length := swapPrompt + swapTokens
	if o.context > 0 {
		length = min(length, o.context)
	}
	if o.cacheTokens == 0 {
		o.cacheTokens = c.Int("batch") * (length + batch.BlockSize)
	}
	o.slots = c.Int("adapters") + swapSpare + 1 // and the job's
	o.trainRows = 2
	if c.IsSet("piece") {
		if err := checkBench(c, "piece"); err != nil {
			return err
		}
		o.piece = c.Int("piece") << 10
	}
	return open(c, o, func(s *session) error {
		w := &swap{session: s, ctx: c.Context, rank: c.Int("rank"), count: c.Int("count"), quiet: c.Int("quiet"), out: c.App.Writer}
		names, err := s.benchAdapters(c.Int("adapters"), w.rank)
		if err != nil {
			return err
		}
		w.labels = fmt.Sprintf("%s/batch=%d/adapters=%d/rank=%d", o.label(), c.Int("batch"), len(names), w.rank)
		return w.run(c.Int("batch"), min(swapTokens, s.engine.Context()-swapPrompt), names)
	})
}

// swap is the benchmark under way.
type swap struct {
	*session
	ctx                context.Context
	out                io.Writer
	labels             string
	rank, count, quiet int
	adapter            *virtualmod.Adapter
	trainee            *virtualmod.Trainee
	state              []byte         // of the trainee, as it was read last
	ticks              chan time.Time // one for each step, when its token came
	last               time.Time
}

func (w *swap) run(streams, tokens int, names []string) error {
	if err := firstError(w.prepare(), w.writeSettings(w.out)); err != nil {
		return err
	}
	for _, m := range []struct {
		what   string
		change func(i int) (bytes int, err error)
	}{
		{"load", w.load}, {"publish", w.publish}, {"train", w.train}, {"checkpoint", w.checkpoint}, {"resume", w.resume}, {"publish-host", w.publishHost},
	} {
		if err := w.beside(streams, tokens, names, func() error { return w.measure(m.what, m.change) }); err != nil {
			return err
		}
	}
	return nil
}

// beside runs f beside streams, which end with it.
func (w *swap) beside(streams, tokens int, names []string, f func() error) error {
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	if err := w.begin(ctx, streams, tokens, names); err != nil {
		return err
	}
	if err := w.steps(w.quiet, nil); err != nil { // clocks rise
		return err
	}
	if err := f(); err != nil {
		return err
	}
	stop()
	for range w.ticks { // to the end of the first stream
	}
	return nil
}

// prepare registers the adapters that take turns, from the host's memory, and puts
// one in training.
func (w *swap) prepare() error {
	targets, err := virtualmod.ParseTargets("all")
	if err != nil {
		return err
	}
	a, err := virtualmod.NewAdapter(virtualmod.Spec{Rank: w.rank, Alpha: float64(2 * w.rank), Targets: targets}, w.engine.Model(), 1)
	if err != nil {
		return err
	}
	for i := range swapSpare + 1 {
		if err := w.base.Add(swapName(i), a); err != nil {
			return err
		}
	}
	w.adapter = a
	w.trainee, err = w.loader.Train(a)
	return err
}

func swapName(i int) string { return fmt.Sprintf("swapped-%d", i%(swapSpare+1)) }

// begin starts the streams.
func (w *swap) begin(ctx context.Context, streams, tokens int, names []string) error {
	w.ticks = make(chan time.Time, tokens+1)
	for i := range streams {
		name := baseName
		if len(names) > 0 {
			name = names[i%len(names)]
		}
		claim, err := w.acquire(ctx, name)
		if err != nil {
			return err
		}
		r := scheduler.Request{Adapter: claim, MaxTokens: tokens, Sampling: batch.Greedy(), LogProbs: -1, PromptLogProbs: -1}
		for t := range swapPrompt {
			r.Prompt = append(r.Prompt, int32((7*i+t)%w.engine.Model().VocabSize))
		}
		events, err := w.scheduler.Submit(ctx, r)
		if err != nil {
			claim.Release()
			return err
		}
		go w.watch(events, i == 0)
	}
	return nil
}

// watch reads a stream to its end.
func (w *swap) watch(events <-chan scheduler.Event, tick bool) {
	for range events {
		if tick {
			w.ticks <- time.Now()
		}
	}
	if tick {
		close(w.ticks)
	}
}

var errStreamsEnded = errors.New("the streams ended before the measurement did: choose a smaller --count or --quiet, or a larger --context")

// steps waits for so many steps and notes how long each took.
func (w *swap) steps(n int, took *[]time.Duration) error {
	for range n {
		at, ok := <-w.ticks
		if !ok {
			return firstError(w.ctx.Err(), errStreamsEnded)
		}
		if took != nil {
			*took = append(*took, at.Sub(w.last))
		}
		w.last = at
	}
	return nil
}

// measure makes changes beside the steps, and compares these with the steps
// before them: their cost grows with the streams.
func (w *swap) measure(what string, change func(i int) (bytes int, err error)) error {
	var total time.Duration
	var alone, took []time.Duration
	bytes := 0
	for i := range 1 + w.count { // the first prepares what is made once
		var before []time.Duration
		if err := w.steps(w.quiet, &before); err != nil {
			return err
		}
		done := make(chan error, 1)
		var each time.Duration
		go func() {
			start := time.Now()
			n, err := change(i)
			each, bytes = time.Since(start), n
			done <- err
		}()
		var beside []time.Duration
		err := w.during(done, &beside)
		if err != nil {
			return err
		}
		if i > 0 {
			total += each
			alone, took = append(alone, before[w.quiet/2:]...), append(took, beside...)
		}
	}
	return w.write(what, total/time.Duration(w.count), bytes, alone, took)
}

// during notes how long the steps take until something is done, and the one after
// that.
func (w *swap) during(done <-chan error, took *[]time.Duration) error {
	for {
		select {
		case err := <-done:
			return firstError(err, w.steps(2, took))
		case at, ok := <-w.ticks:
			if !ok {
				return firstError(w.ctx.Err(), errStreamsEnded)
			}
			*took = append(*took, at.Sub(w.last))
			w.last = at
		}
	}
}

// load brings the adapter that has been away longest.
func (w *swap) load(i int) (int, error) {
	info, err := w.base.Info(swapName(i))
	if err != nil {
		return 0, err
	}
	return info.Parameters * w.engine.Precision().Act.Size(), w.check(w.ctx, swapName(i))
}

// publish makes the weights in training the next version of a name.
func (w *swap) publish(int) (int, error) {
	return 0, w.loader.Publish(w.trainee, "published")
}

// train has a job's adapter come, which leaves at once. It is told as the bytes of all
// that comes and is cleared: the adapter, the gradient, the moments and the master.
func (w *swap) train(int) (int, error) {
	t, err := w.loader.Train(w.adapter)
	if err != nil {
		return 0, err
	}
	act := w.engine.Precision().Act.Size()
	bytes := w.adapter.Info().Parameters * (act + 12)
	if act != 4 {
		bytes += 4 * w.adapter.Info().Parameters
	}
	return bytes, w.loader.End(t)
}

// checkpoint reads everything of the job.
func (w *swap) checkpoint(int) (int, error) {
	var read func() (*virtualmod.Adapter, []byte, error)
	var err error
	if stopped := w.scheduler.Do(func() { read, err = w.trainee.Snapshot() }); stopped != nil || err != nil {
		return 0, firstError(err, stopped)
	}
	_, w.state, err = read()
	return len(w.state), err
}

// resume brings back what was read of the job.
func (w *swap) resume(int) (int, error) { return len(w.state), w.trainee.Restore(w.state) }

// fill takes the slots that the streams do not need.
func (w *swap) fill(ctx context.Context) error {
	for i := range swapSpare {
		claim, err := w.acquire(ctx, swapName(i))
		if err != nil {
			return err
		}
		w.later(func() error {
			claim.Release()
			return nil
		})
	}
	return nil
}

// publishHost publishes where all slots are in use.
func (w *swap) publishHost(i int) (int, error) {
	if i == 0 {
		if err := w.fill(w.ctx); err != nil {
			return 0, err
		}
	}
	bytes := w.adapter.Info().Parameters * w.engine.Precision().Act.Size()
	return bytes, w.loader.Publish(w.trainee, "published")
}

// write prints the time of a change, and of the steps before and meanwhile.
func (w *swap) write(what string, each time.Duration, bytes int, alone, beside []time.Duration) error {
	line := fmt.Sprintf("BenchmarkSwap/%s/%s%s\t%d\t%d ns/op\t%.1f steps/op%s%s",
		w.labels, what, processors(), w.count, each.Nanoseconds(), float64(len(beside))/float64(w.count), spread("alone", alone), spread("beside", beside))
	if bytes > 0 {
		line += fmt.Sprintf("\t%.1f MB\t%.2f GB/s", float64(bytes)/1e6, float64(bytes)/float64(each.Nanoseconds()))
	}
	_, err := fmt.Fprintln(w.out, line)
	return err
}

// spread is the columns of how long steps took.
func spread(what string, steps []time.Duration) string {
	slices.Sort(steps)
	at := func(share float64) float64 {
		return float64(steps[min(len(steps)-1, int(share*float64(len(steps))))].Nanoseconds()) / 1e3
	}
	return fmt.Sprintf("\t%.0f p50-%[4]s-us\t%.0[2]f p90-%[4]s-us\t%.0[3]f max-%[4]s-us", at(0.5), at(0.9), at(1), what)
}
