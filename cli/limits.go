package cli

import (
	"time"

	"github.com/urfave/cli/v2"

	"loquetier/scheduler"
)

// limitOptions are the targets and limits of serving.
type limitOptions struct {
	ttft, itl time.Duration
	queue     int           // 0: no limit
	maxWait   time.Duration // 0: no limit
}

// unifiedWait is the wait after which the published system counts a request
// as lost.
const unifiedWait = 6 * time.Second

// limitFlags are the flags of limitOptions.
func limitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "ttft", Value: time.Second, Usage: "target `T` from a request to its first token"},
		&cli.DurationFlag{Name: "itl", Value: 100 * time.Millisecond, Usage: "target `T` between two tokens"},
		&cli.IntFlag{Name: "queue", DefaultText: "any number", Usage: "at most `N` requests may wait; more are refused"},
		&cli.DurationFlag{Name: "max-wait", Value: unifiedWait, Usage: "end a request that has not begun after `T`"},
	}
}

// limitsOf reads limitFlags.
func limitsOf(c *cli.Context) (limitOptions, error) {
	o := limitOptions{ttft: c.Duration("ttft"), itl: c.Duration("itl"), queue: c.Int("queue"), maxWait: c.Duration("max-wait")}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"ttft", o.ttft}, {"itl", o.itl}, {"max-wait", o.maxWait}} {
		if f.value < time.Millisecond || f.value > time.Hour {
			return o, usagef("--%s %v: it takes 1ms to 1h", f.name, f.value)
		}
	}
	if c.IsSet("queue") && o.queue < 1 {
		return o, usagef("--queue %d: it takes 1 or more", o.queue)
	}
	return o, nil
}

// options are the scheduler's.
func (o limitOptions) options() []scheduler.Option {
	return []scheduler.Option{scheduler.WithLimits(scheduler.Limits{Queue: o.queue, Wait: o.maxWait})}
}
