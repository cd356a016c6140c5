package cli

import (
	"time"

	"github.com/urfave/cli/v2"

	"loquetier/scheduler"
)

// limitOptions are what requests are promised, and what training keeps.
type limitOptions struct {
	targets   scheduler.Targets
	floor     float64 // share of time that training keeps
	limits    scheduler.Limits
	decisions string // file that gets each step's decision; "": none
}

// limitFlags are the flags of limitOptions, where nothing is said d. Zero is
// no target and no limit.
func limitFlags(d limitOptions) []cli.Flag {
	text := func(none bool) string {
		if none {
			return "none"
		}
		return ""
	}
	return []cli.Flag{
		&cli.DurationFlag{Name: "ttft", Value: d.targets.TTFT, DefaultText: text(d.targets.TTFT == 0), Usage: "target `T` from a request to its first token, which training makes way for"},
		&cli.DurationFlag{Name: "itl", Value: d.targets.ITL, DefaultText: text(d.targets.ITL == 0), Usage: "target `T` between two tokens of an output, which training and prompts make way for"},
		&cli.Float64Flag{Name: "train-floor", Value: scheduler.DefaultFloor, Usage: "`SHARE` of time that training keeps even where the targets are missed"},
		&cli.IntFlag{Name: "queue", DefaultText: "any number", Usage: "at most `N` requests may wait; more are refused"},
		&cli.DurationFlag{Name: "max-wait", Value: d.limits.Wait, DefaultText: text(d.limits.Wait == 0), Usage: "end a request that has not begun after `T`"},
		decisionsFlag(),
	}
}

// decisionsFlag is the one of limitFlags that makes sense where nothing is served.
func decisionsFlag() cli.Flag {
	return &cli.StringFlag{Name: "decisions", Usage: "write what is decided of each step, and why, to `FILE`, as JSON lines"}
}

// limitsOf reads limitFlags, of a command that has them.
func limitsOf(c *cli.Context) (limitOptions, error) {
	o := limitOptions{
		targets: scheduler.Targets{TTFT: c.Duration("ttft"), ITL: c.Duration("itl")}, floor: c.Float64("train-floor"),
		limits: scheduler.Limits{Queue: c.Int("queue"), Wait: c.Duration("max-wait")}, decisions: c.String("decisions"),
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"ttft", o.targets.TTFT}, {"itl", o.targets.ITL}, {"max-wait", o.limits.Wait}} {
		if c.IsSet(f.name) && (f.value < time.Millisecond || f.value > time.Hour) {
			return o, usagef("--%s %v: it takes 1ms to 1h", f.name, f.value)
		}
	}
	if c.IsSet("queue") && o.limits.Queue < 1 {
		return o, usagef("--queue %d: it takes 1 or more", o.limits.Queue)
	}
	if err := o.targets.Check(); err != nil {
		return o, usagef("--ttft and --itl: %w", err)
	}
	if err := scheduler.CheckFloor(o.floor); err != nil {
		return o, usagef("--train-floor %w", err)
	}
	return o, checkFiles(c, "decisions")
}

// control is the scheduler's options. It reads what is known of the device and
// the model, and leaves to the session's end what is to be written then.
func (s *session) control(base string) ([]scheduler.Option, error) {
	l := s.options.limits
	options := []scheduler.Option{scheduler.WithLimits(l.limits), scheduler.WithTargets(l.targets), scheduler.WithFloor(l.floor)}
	if l.targets != (scheduler.Targets{}) {
		file := s.costFile(base)
		options = append(options, scheduler.WithCost(s.readCost(file)))
		s.later(func() error { return s.writeCost(file) })
	}
	if l.decisions != "" {
		log, err := newDecisionLog(l.decisions)
		if err != nil {
			return nil, err
		}
		s.later(log.close)
		options = append(options, scheduler.WithDecisions(log.add))
	}
	return options, nil
}
