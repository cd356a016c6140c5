package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"loquetier/cli/replay"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
	"loquetier/scheduler"
)

func benchUnifiedCommand() *cli.Command {
	return &cli.Command{
		Name: "unified", Usage: "replay requests over time, with and without training beside them",
		Flags: benchFlags(append([]cli.Flag{
			&cli.StringFlag{Name: "load", Value: "mutable", Usage: "`PROFILE` of the requests: " + strings.Join(replay.ProfileNames(), ", ")},
			&cli.StringFlag{Name: "trace", Usage: "`FILE` of the requests instead: CSV with a header; time, prompt tokens, generated tokens"},
			&cli.StringFlag{Name: "speed", Value: "1", Usage: "multiply the rates by `X`; max for the most that keeps the SLO without training, found by trials, 40% for that share of it"},
			&cli.DurationFlag{Name: "trial", Value: 10 * time.Second, Usage: "length `T` of a trial where the speed is to be found"},
			&cli.IntFlag{Name: "requests", DefaultText: "all", Usage: "`N` requests: a profile's phases in proportion, a trace's first ones"},
			&cli.DurationFlag{Name: "duration", DefaultText: "all", Usage: "no requests after `T` of the load's own time, before --speed"},
			&cli.DurationFlag{Name: "drain", DefaultText: "to their end", Usage: "wait for requests at most `T` after the last one was due; of those still under way only the late ones are counted"},
			&cli.IntFlag{Name: "adapters", DefaultText: "none", Usage: "give the requests the first `K` adapters in turn; without --adapter the embedded ones of stories, or with --shape random ones"},
			&cli.IntFlag{Name: "jobs", Value: 1, Usage: "`N` training jobs; 0: only requests"},
			&cli.IntFlag{Name: "rank", Value: 8, Usage: "rank `R` of the jobs' adapters, and of random ones"},
			&cli.IntFlag{Name: "length", DefaultText: "an eighth of the context, at most 1024", Usage: "`N` tokens a training sequence"},
			&cli.IntFlag{Name: "micro-batch", Value: 4, Usage: "`N` sequences a job and optimizer step"},
			&cli.IntFlag{Name: "train-rows", DefaultText: "what keeps the device busy", Usage: "most training rows of a step, `N` tokens"},
			recomputeFlag(),
			&cli.DurationFlag{Name: "standalone", Value: 10 * time.Second, Usage: "first train without requests for a time `T`, to compare with"},
			&cli.BoolFlag{Name: "compare", DisableDefaultText: true, Usage: "also replay the load without training, before"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`SEED` of a profile's times and lengths, and of all tokens"},
			&cli.StringFlag{Name: "json", Usage: "write the report to `FILE`"},
			&cli.StringFlag{Name: "svg", Usage: "draw load, latency and training over time into `FILE`"},
		}, limitFlags(limitOptions{targets: scheduler.DefaultTargets(), limits: scheduler.Limits{Wait: unifiedWait}})...)...),
		Description: "loquetier bench unified --model stories --requests 60 --speed 2 --adapters 3 --compare --svg unified.svg\nloquetier bench unified --shape 8b --trace azure_conv.csv --duration 5m --speed 0.5 --cache-tokens 131072",
		Action:      benchUnified,
	}
}

// unifiedWait is the wait after which the published system counts a request
// as lost.
const unifiedWait = 6 * time.Second

// unified is a benchmark of requests and training at once.
type unified struct {
	*session
	unifiedOptions
	training training
	trained  trainedLog
	view     *unifiedView
	targets  replay.Targets
	clients  []client // that the requests are spread over
}

// unifiedOptions are its flags.
type unifiedOptions struct {
	profile             string
	trace               replay.Load // without requests: the profile
	speed               float64     // 0: to be found
	part                float64     // of the highest speed, where it is to be found
	trial, alone        time.Duration
	requests            int           // 0: all
	duration            time.Duration // 0: all
	drain               time.Duration // 0: as long as it takes
	adapters, jobCount  int
	rank, length, micro int
	mostRows            int // of training in a step; 0: to be chosen
	compare             bool
	seed                uint64
	json, svg           string
}

// benchUnified refuses what is wrong with flags and trace before the model is
// loaded.
func benchUnified(c *cli.Context) error {
	o, err := modelOptionsOf(c)
	if err != nil {
		return err
	}
	u := &unified{}
	if u.unifiedOptions, err = unifiedOptionsOf(c); err != nil {
		return err
	}
	if o.recompute, err = recomputeOf(c); err != nil {
		return err
	}
	return withCheckpoint(c, o, func(s *session, checkpoint *weights.Checkpoint) error {
		u.session, u.training, u.view = s, training{session: s, checkpoint: checkpoint}, newUnifiedView(c, &u.trained)
		u.targets = replay.Targets(o.limits.targets)
		if err := firstError(u.prepareJobs(), s.serve(c.Context, checkpoint), c.Context.Err()); err != nil {
			return err
		}
		return u.run(c)
	})
}

// unifiedOptionsOf reads the flags and the trace.
func unifiedOptionsOf(c *cli.Context) (unifiedOptions, error) {
	o := unifiedOptions{
		profile: c.String("load"), trial: c.Duration("trial"), alone: c.Duration("standalone"), requests: c.Int("requests"), duration: c.Duration("duration"), drain: c.Duration("drain"),
		adapters: c.Int("adapters"), jobCount: c.Int("jobs"), rank: c.Int("rank"), length: c.Int("length"), micro: c.Int("micro-batch"), mostRows: c.Int("train-rows"),
		compare: c.Bool("compare"), seed: c.Uint64("seed"), json: c.String("json"), svg: c.String("svg"),
	}
	if err := firstError(checkAdapters(c), o.checkCounts(c), o.checkTimes(c), o.readSpeed(c.String("speed")), checkFiles(c, "json", "svg"), noArguments(c)); err != nil {
		return o, err
	}
	if name := c.String("trace"); name != "" {
		if c.IsSet("load") {
			return o, usagef("--load and --trace exclude each other")
		}
		return o, o.readTrace(name)
	}
	_, err := replay.Profile(o.profile, 1, 1, 0)
	if err != nil {
		return o, usagef("--%w", err)
	}
	return o, nil
}

// readSpeed reads --speed.
func (o *unifiedOptions) readSpeed(text string) error {
	if text == "max" {
		text = "100%"
	}
	digits, percent := strings.CutSuffix(text, "%")
	value, err := strconv.ParseFloat(digits, 64)
	switch {
	case err == nil && percent && value >= 1 && value <= 100:
		o.part = value / 100
	case err == nil && !percent && value >= 1e-3 && value <= 1e4:
		o.speed = value
	default:
		return usagef("--speed %q: it takes 0.001 to 10000, max, or 1%% to 100%% of that", text)
	}
	return nil
}

func (o *unifiedOptions) checkCounts(c *cli.Context) error {
	for _, f := range []struct {
		name        string
		value       int
		least, most int
	}{
		{"requests", o.requests, 1, 1 << 20}, {"jobs", o.jobCount, 0, maxJobs}, {"length", o.length, 2, 1 << 16}, {"micro-batch", o.micro, 1, 1 << 16},
		{"train-rows", o.mostRows, 2, mostTrainRows},
	} {
		if c.IsSet(f.name) && (f.value < f.least || f.value > f.most) {
			return usagef("--%s %d: it takes %d to %d", f.name, f.value, f.least, f.most)
		}
	}
	return nil
}

func (o *unifiedOptions) checkTimes(c *cli.Context) error {
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"trial", o.trial}, {"standalone", o.alone}, {"duration", o.duration}, {"drain", o.drain}} {
		if c.IsSet(f.name) && (f.value < 100*time.Millisecond || f.value > 24*time.Hour) {
			return usagef("--%s %v: it takes 100ms to 24h", f.name, f.value)
		}
	}
	return nil
}

func (o *unifiedOptions) readTrace(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if o.trace, err = replay.ReadTrace(benchName(name), file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// load is the load at a speed, cut to about a length of its replay; 0: all of it.
func (u *unified) load(speed float64, length time.Duration) (replay.Load, error) {
	load, n := u.trace, u.requests
	if length > 0 && len(load.Requests) > 0 {
		load = load.Until(time.Duration(speed * float64(length)))
	}
	if len(load.Requests) == 0 {
		if length > 0 {
			n = max(1, int(math.Round(speed*length.Seconds()*replay.MeanRate(u.profile))))
		}
		var err error
		if load, err = replay.Profile(u.profile, n, u.engine.Context(), u.seed); err != nil {
			return load, err
		}
	}
	if n > 0 {
		load = load.First(n)
	}
	if u.duration > 0 {
		load = load.Until(u.duration)
	}
	if len(load.Requests) == 0 {
		return load, errors.New("no request is left of the load: choose a longer --duration")
	}
	return load.Faster(speed).Fit(min(u.engine.Context(), u.engine.CacheBlocks()*batch.BlockSize)), nil
}

// run warms up, finds the speed where it is asked for, and measures: the load
// without training, training without load, both.
func (u *unified) run(c *cli.Context) error {
	ctx := c.Context
	defer u.view.end()
	err := u.begin(ctx)
	if err != nil {
		return err
	}
	if u.speed == 0 {
		if u.speed, err = u.findSpeed(ctx); err != nil {
			return err
		}
		u.speed *= u.part
	}
	load, err := u.load(u.speed, 0)
	if err != nil {
		return err
	}
	report := u.report(load)
	if u.compare && u.jobCount > 0 {
		run, err := u.replay(ctx, "requests alone", load)
		if err != nil {
			return err
		}
		without := replay.Summarize(run, u.targets, 0)
		report.Without = &without
	}
	alone, err := u.standalone(ctx)
	if err != nil {
		return err
	}
	run, err := u.both(ctx, load)
	if err != nil {
		return err
	}
	u.view.end()
	report.Summary = replay.Summarize(run, u.targets, alone)
	picture := replay.Picture{Title: u.title(report), Run: run, Targets: u.targets, TrainAlone: alone}
	return u.write(c.App.Writer, report, picture)
}

// both replays the load beside the jobs, if there are any.
func (u *unified) both(ctx context.Context, load replay.Load) (replay.Run, error) {
	if u.jobCount > 0 {
		u.view.begin("training begins", 0)
		if _, err := u.trainFor(ctx, 0); err != nil {
			return replay.Run{}, err
		}
	}
	run, err := u.replay(ctx, "requests"+u.beside(), load)
	if err != nil {
		return run, err
	}
	return run, u.endJobs()
}

// beside tells what runs beside the requests.
func (u *unified) beside() string {
	switch u.jobCount {
	case 0:
		return ""
	case 1:
		return " and training"
	}
	return fmt.Sprintf(" and %d jobs", u.jobCount)
}

// warmRequests is how many requests make kernels ready, at once, each with at
// most warmTokens of output.
const warmRequests, warmTokens = 16, 16

// begin brings adapters onto the device and makes kernels ready.
func (u *unified) begin(ctx context.Context) error {
	names, err := u.benchAdapters(u.adapters, u.rank)
	if err != nil {
		return err
	}
	if err := u.connect(names); err != nil {
		return err
	}
	return u.warm(ctx)
}

// warm serves some requests that do not count, twice: what the first ones
// wait for, kernels being made ready, is nothing to learn from.
func (u *unified) warm(ctx context.Context) error {
	load, err := u.load(1, 0)
	if err != nil {
		return err
	}
	load = load.First(warmRequests)
	for i := range load.Requests {
		r := &load.Requests[i]
		r.At, r.Output = 0, min(r.Output, warmTokens)
	}
	warm := func() error {
		_, err := u.replay(ctx, "warm-up", load)
		return err
	}
	if err := u.apart(warm); err != nil {
		return err
	}
	return warm()
}

// The search for the highest speed: how much of the SLO a trial has to
// attain, and how often the range is halved once there is one.
const (
	searchAttainment = 0.995
	searchHalvings   = 3
)

// findSpeed doubles or halves the speed until a trial with nothing trained
// fails or holds the SLO, then narrows the range between the two.
func (u *unified) findSpeed(ctx context.Context) (float64, error) {
	holds := func(speed float64) (bool, error) {
		load, err := u.load(speed, u.trial)
		if err != nil {
			return false, err
		}
		run, err := u.replay(ctx, fmt.Sprintf("trial at speed %.3g", speed), load)
		s := replay.Summarize(run, u.targets, 0)
		if err == nil {
			u.view.say(fmt.Sprintf("speed %.3g: %.2f requests/s, %.1f %% attain the SLO", speed, s.RequestRate, 100*s.Attainment))
		}
		return s.Attainment >= searchAttainment, err
	}
	return highest(1, holds)
}

// highest is the highest speed at which holds is true, to 10 percent or so.
func highest(start float64, holds func(float64) (bool, error)) (float64, error) {
	const least, most = 1.0 / 1024, 1024
	good, err := holds(start)
	if err != nil {
		return 0, err
	}
	low, high := start, start
	for last := good; last == good && err == nil; {
		if good {
			low, high = high, 2*high
			last, err = holds(high)
		} else {
			low, high = low/2, low
			last, err = holds(low)
		}
		if err == nil && (low < least || high > most) {
			err = errors.New("--speed max: the SLO is held at no speed or at any: choose other targets")
		}
	}
	for i := 0; i < searchHalvings && err == nil; i++ {
		middle := math.Sqrt(low * high)
		var ok bool
		if ok, err = holds(middle); ok {
			low = middle
		} else {
			high = middle
		}
	}
	return low, err
}
