package cli

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"loquetier/engine/batch"
	"loquetier/engine/weights"
	"loquetier/virtualmod"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name: "bench", Usage: "measure speed, in the format of Go's benchmarks",
		Description: "loquetier bench decode --shape 8b --batch 32 --adapters 32",
		Subcommands: []*cli.Command{
			{
				Name: "decode", Usage: "measure steps of one token a sequence",
				Flags: servingFlags(
					&cli.IntFlag{Name: "prompt", Value: 128, Usage: "`N` tokens before the first step"},
					&cli.IntFlag{Name: "tokens", Value: 64, Usage: "`N` steps a run"},
					countFlag(5),
				),
				Description: "loquetier bench decode --model DIR --batch 8 --adapter a=DIR --adapter b=DIR --adapters 2\nloquetier bench decode --shape 8b --batch 32 --adapters 32 --rank 16",
				Action:      benchDecode,
			},
			{
				Name: "prefill", Usage: "measure steps that read prompts",
				Flags: servingFlags(
					&cli.IntFlag{Name: "rows", Value: 256, Usage: "`N` tokens a step, over all sequences"},
					countFlag(10),
				),
				Description: "loquetier bench prefill --shape 8b --rows 2048",
				Action:      benchPrefill,
			},
			benchTrainCommand(),
		},
	}
}

// benchFlags are modelFlags with the choice of random weights.
func benchFlags(more ...cli.Flag) []cli.Flag {
	shape := &cli.StringFlag{Name: "shape", Usage: "random weights of a model's `SHAPE` instead of --model: " + strings.Join(weights.Shapes(), ", ")}
	return modelFlags(slices.Concat([]cli.Flag{shape}, more)...)
}

// servingFlags are benchFlags of the benchmarks that serve sequences.
func servingFlags(more ...cli.Flag) []cli.Flag {
	return benchFlags(slices.Concat([]cli.Flag{
		&cli.IntFlag{Name: "batch", Value: 1, Usage: "`N` sequences at a time"},
		&cli.IntFlag{Name: "adapters", DefaultText: "none", Usage: "give the sequences the first `K` adapters in turn; without --adapter the embedded ones of stories, or with --shape random ones"},
		&cli.IntFlag{Name: "rank", Value: 16, Usage: "rank `R` of random adapters"},
	}, more)...)
}

func countFlag(runs int) cli.Flag {
	return &cli.IntFlag{Name: "count", Value: runs, Usage: "`N` runs, of which the median is told"}
}

func benchDecode(c *cli.Context) error {
	prompt, tokens := c.Int("prompt"), c.Int("tokens")
	return bench(c, "prompt", "tokens", prompt+tokens, func(w *workload) (string, measurement, error) {
		for w.lanes[0].next < prompt {
			if _, err := w.step(min(prompt-w.lanes[0].next, max(1, w.engine.MaxRows()/len(w.lanes)))); err != nil {
				return "", measurement{}, err
			}
		}
		m, err := w.measure(c.Int("count"), tokens, 1)
		return "BenchmarkDecode/" + w.labels, m, err
	})
}

func benchPrefill(c *cli.Context) error {
	each := c.Int("rows") / max(1, c.Int("batch"))
	return bench(c, "rows", "count", max(1, each), func(w *workload) (string, measurement, error) {
		if each*len(w.lanes) != c.Int("rows") {
			return "", measurement{}, usagef("--rows %d: it takes a multiple of --batch %d", c.Int("rows"), len(w.lanes))
		}
		m, err := w.measure(c.Int("count"), 1, each)
		return fmt.Sprintf("BenchmarkPrefill/%s/rows=%d", w.labels, c.Int("rows")), m, err
	})
}

// bench runs f on sequences of a length with the loop of the scheduler at
// rest, and prints its result. The two flags, and --batch and --count, take 1 or more.
func bench(c *cli.Context, flag, other string, length int, f func(*workload) (string, measurement, error)) error {
	o, err := modelOptionsOf(c)
	if err != nil {
		return err
	}
	if err := checkBench(c, flag, other, "batch", "count"); err != nil {
		return err
	}
	if o.cacheTokens == 0 {
		o.cacheTokens = c.Int("batch") * (length + batch.BlockSize)
	}
	if o.slots == 0 && o.shape != "" {
		o.slots = max(1, c.Int("adapters"))
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
	if n := c.Int("adapters"); n < 0 || n > maxSlots {
		return usagef("--adapters %d: it takes 0 to %d", n, maxSlots)
	}
	if r := c.Int("rank"); r < 4 || r > virtualmod.MaxRank || r%4 != 0 {
		return usagef("--rank %d: it takes a multiple of 4, at most %d", r, virtualmod.MaxRank)
	}
	return noArguments(c)
}

// writeBench prints a measurement with the settings that benchstat groups by.
func (s *session) writeBench(w io.Writer, name string, m measurement) error {
	per := func(total float64) float64 { return total / float64(m.steps) }
	line := fmt.Sprintf("goos: %s\ngoarch: %s\npkg: loquetier\ncpu: %s\ndtype: %s\n%s-%d\t%d\t%.0f ns/op\t%.1f tok/s\t%.0f dispatches/op\t%.1f record-us/op",
		runtime.GOOS, runtime.GOARCH, s.device.Info.Name, s.engine.Precision().Act,
		name, runtime.GOMAXPROCS(0), m.steps*m.runs, per(float64(m.wall)), float64(m.tokens)/m.wall.Seconds(),
		per(float64(m.dispatches)), per(float64(m.record.Microseconds())))
	if m.memory > 0 {
		line += fmt.Sprintf("\t%.1f MiB", float64(m.memory)/(1<<20))
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
