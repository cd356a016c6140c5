package cli

import (
	"fmt"
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
			benchTrainCommand(), benchSwapCommand(), benchKernelsCommand(), benchProductsCommand(), benchUnifiedCommand(),
		},
	}
}

// benchFlags are modelFlags with the choice of random weights.
func benchFlags(more ...cli.Flag) []cli.Flag {
	return modelFlags(slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "shape", Usage: "random weights of a model's `SHAPE` instead of --model: " + strings.Join(weights.Shapes(), ", ")},
		&cli.IntFlag{Name: "layers", DefaultText: "all", Usage: "only `N` layers of the shape"},
	}, more)...)
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
		if err := w.read(prompt); err != nil {
			return "", measurement{}, err
		}
		m, err := w.measure(c.Context, c.Int("count"), tokens, 1)
		return fmt.Sprintf("BenchmarkDecode/%s/prompt=%d", w.labels, prompt), m, err
	})
}

func benchPrefill(c *cli.Context) error {
	each := c.Int("rows") / max(1, c.Int("batch"))
	return bench(c, "rows", "count", max(1, each), func(w *workload) (string, measurement, error) {
		if each*len(w.lanes) != c.Int("rows") {
			return "", measurement{}, usagef("--rows %d: it takes a multiple of --batch %d", c.Int("rows"), len(w.lanes))
		}
		m, err := w.measure(c.Context, c.Int("count"), 1, each)
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
	if err := firstError(checkBench(c, flag, other, "batch", "count"), checkAdapters(c)); err != nil {
		return err
	}
	if o.cacheTokens == 0 {
		o.cacheTokens = c.Int("batch") * (length + batch.BlockSize)
	}
	if o.slots == 0 && o.shape != "" {
		o.slots = max(1, c.Int("adapters"))
	}
	return open(c, o, func(s *session) error {
		slots, err := s.benchSlots(c.Int("adapters"), c.Int("rank"))
		if err != nil {
			return err
		}
		w, err := s.newWorkload(c.Int("batch"), length, slots)
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
	return noArguments(c)
}

func checkAdapters(c *cli.Context) error {
	if n := c.Int("adapters"); n < 0 || n > maxSlots {
		return usagef("--adapters %d: it takes 0 to %d", n, maxSlots)
	}
	return checkRank(c)
}

// checkRank refuses ranks that random adapters cannot have.
func checkRank(c *cli.Context) error {
	if r := c.Int("rank"); r < 4 || r > virtualmod.MaxRank || r%4 != 0 {
		return usagef("--rank %d: it takes a multiple of 4, at most %d", r, virtualmod.MaxRank)
	}
	return nil
}
