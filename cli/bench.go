package cli

import (
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/urfave/cli/v2"

	"loquetier/engine/batch"
)

func benchCommand() *cli.Command {
	common := []cli.Flag{
		&cli.IntFlag{Name: "batch", Value: 1, Usage: "`N` sequences at a time"},
		&cli.IntFlag{Name: "adapters", DefaultText: "none", Usage: "give the sequences the first `K` adapters in turn; without --adapter the embedded ones of stories"},
	}
	return &cli.Command{
		Name: "bench", Usage: "measure speed, in the format of Go's benchmarks",
		Description: "loquetier bench decode --model stories --batch 8 --adapters 3",
		Subcommands: []*cli.Command{
			{
				Name: "decode", Usage: "measure steps of one token a sequence",
				Flags: modelFlags(slices.Concat(common, []cli.Flag{
					&cli.IntFlag{Name: "prompt", Value: 128, Usage: "`N` tokens before the first step"},
					&cli.IntFlag{Name: "tokens", Value: 64, Usage: "`N` steps"},
				})...),
				Description: "loquetier bench decode --model DIR --batch 8 --adapter a=DIR --adapter b=DIR --adapters 2",
				Action:      benchDecode,
			},
			{
				Name: "prefill", Usage: "measure steps that read prompts",
				Flags: modelFlags(slices.Concat(common, []cli.Flag{
					&cli.IntFlag{Name: "rows", Value: 256, Usage: "`N` tokens a step, over all sequences"},
					&cli.IntFlag{Name: "count", Value: 10, Usage: "`N` steps"},
				})...),
				Description: "loquetier bench prefill --model stories --rows 256",
				Action:      benchPrefill,
			},
			benchTrainCommand(),
		},
	}
}

func benchDecode(c *cli.Context) error {
	prompt, tokens := c.Int("prompt"), c.Int("tokens")
	return bench(c, "prompt", "tokens", prompt+tokens+1, func(w *workload) (string, measurement, error) {
		for w.lanes[0].next < prompt {
			if _, err := w.step(min(prompt-w.lanes[0].next, max(1, w.engine.MaxRows()/len(w.lanes)))); err != nil {
				return "", measurement{}, err
			}
		}
		if _, err := w.step(1); err != nil { // the first decode step prepares kernels
			return "", measurement{}, err
		}
		m, err := w.measure(tokens, 1)
		return "BenchmarkDecode/" + w.labels, m, err
	})
}

func benchPrefill(c *cli.Context) error {
	each := c.Int("rows") / max(1, c.Int("batch"))
	return bench(c, "rows", "count", max(1, each), func(w *workload) (string, measurement, error) {
		if each*len(w.lanes) != c.Int("rows") {
			return "", measurement{}, usagef("--rows %d: it takes a multiple of --batch %d", c.Int("rows"), len(w.lanes))
		}
		if _, err := w.step(each); err != nil {
			return "", measurement{}, err
		}
		m, err := w.measure(c.Int("count"), each)
		return fmt.Sprintf("BenchmarkPrefill/%s/rows=%d", w.labels, c.Int("rows")), m, err
	})
}

// bench runs f on sequences of a length with the loop of the scheduler at
// rest, and prints its result. The two flags, and --batch, take 1 or more.
func bench(c *cli.Context, flag, other string, length int, f func(*workload) (string, measurement, error)) error {
	o, err := modelOptionsOf(c)
	if err != nil {
		return err
	}
	if err := checkBench(c, flag, other, "batch"); err != nil {
		return err
	}
	if o.cacheTokens == 0 {
		o.cacheTokens = c.Int("batch") * (length + batch.BlockSize)
	}
	return open(c, o, func(s *session) error {
		w, err := s.newWorkload(c, length)
		if err != nil {
			return err
		}
		var name string
		var m measurement
		if stopped := s.scheduler.Do(func() { name, m, err = f(w) }); stopped != nil || err != nil {
			return firstError(err, stopped)
		}
		return s.writeBench(c.App.Writer, name, m)
	})
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkBench(c *cli.Context, flags ...string) error {
	for _, name := range flags {
		if n := c.Int(name); n < 1 || n > 1<<20 {
			return usagef("--%s %d: it takes 1 to %d", name, n, 1<<20)
		}
	}
	if n := c.Int("adapters"); n < 0 {
		return usagef("--adapters %d: it takes 0 or more", n)
	}
	return noArguments(c)
}

// writeBench prints a measurement with the settings that benchstat groups by.
func (s *session) writeBench(w io.Writer, name string, m measurement) error {
	per := func(total float64) float64 { return total / float64(m.steps) }
	line := fmt.Sprintf("goos: %s\ngoarch: %s\npkg: loquetier\ncpu: %s\ndtype: %s\n%s-%d\t%d\t%.0f ns/op\t%.1f tok/s\t%.0f dispatches/op\t%.1f record-us/op",
		runtime.GOOS, runtime.GOARCH, s.device.Info.Name, s.engine.Precision().Act,
		name, runtime.GOMAXPROCS(0), m.steps, per(float64(m.wall)), float64(m.tokens)/m.wall.Seconds(),
		per(float64(m.dispatches)), per(float64(m.record.Microseconds())))
	if m.memory > 0 {
		line += fmt.Sprintf("\t%.1f MiB", float64(m.memory)/(1<<20))
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
