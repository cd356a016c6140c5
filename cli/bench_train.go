package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
	"loquetier/virtualmod"
)

func benchTrainCommand() *cli.Command {
	return &cli.Command{
		Name: "train", Usage: "measure optimizer steps of jobs that train side by side",
		Flags: benchFlags(
			&cli.IntFlag{Name: "jobs", Value: 1, Usage: "`N` new adapters, trained in the same steps"},
			&cli.IntFlag{Name: "sequences", Value: 4, Usage: "`N` sequences a job and step"},
			&cli.IntFlag{Name: "micro", DefaultText: "all", Usage: "`N` sequences of a job at a time: their gradients add up to the step's"},
			&cli.IntFlag{Name: "slices", DefaultText: "all", Usage: "`N` layers of a backward pass in a step of the engine, as between next tokens"},
			&cli.IntFlag{Name: "length", Value: 128, Usage: "`N` tokens a sequence"},
			&cli.IntFlag{Name: "rank", Value: 8, Usage: "rank `R` of the adapters"},
			&cli.StringFlag{Name: "targets", Value: "all", Usage: "`MODULES` of the adapters: all, or q_proj,v_proj and so on"},
			recomputeFlag(),
			countFlag(10),
		),
		Description: "loquetier bench train --shape 8b --sequences 4 --length 1024",
		Action:      benchTrain,
	}
}

// drill is the size of a training benchmark, and the steps of the engine that
// make one optimizer step of all jobs.
type drill struct {
	jobs, sequences, length int
	micro                   int // sequences of a job in a step of the engine
	slices                  int // of a backward pass in a step of the engine
	rank                    int
	targets                 []engine.Module
	steps                   []batch.Step
}

// benchTrain refuses what does not fit the context or the cache before the
// model is loaded.
func benchTrain(c *cli.Context) error {
	o, err := modelOptionsOf(c)
	if err != nil {
		return err
	}
	d, err := drillOf(c)
	if err != nil {
		return err
	}
	if o.recompute, err = recomputeOf(c); err != nil {
		return err
	}
	d.size(&o)
	return withCheckpoint(c, o, func(s *session, checkpoint *weights.Checkpoint) error {
		if err := firstError(d.fits(s.options, checkpoint.Config), s.serve(c.Context, checkpoint), c.Context.Err()); err != nil {
			return err
		}
		var m measurement
		if stopped := s.scheduler.Do(func() { m, err = d.run(c.Context, s, c.Int("count")) }); stopped != nil || err != nil {
			return firstError(err, stopped)
		}
		return s.writeBench(c.App.Writer, d.name(c, s), m)
	})
}

// drillOf reads the flags.
func drillOf(c *cli.Context) (*drill, error) {
	d := &drill{jobs: c.Int("jobs"), sequences: c.Int("sequences"), length: c.Int("length"), micro: c.Int("micro"), slices: c.Int("slices"), rank: c.Int("rank")}
	if !c.IsSet("micro") {
		d.micro = d.sequences
	}
	if !c.IsSet("slices") {
		d.slices = batch.All
	}
	for _, f := range []struct {
		name          string
		value         int
		least, atMost int
	}{
		{"jobs", d.jobs, 1, maxJobs}, {"sequences", d.sequences, 1, 1 << 20}, {"length", d.length, 2, 1 << 20}, {"micro", d.micro, 1, d.sequences}, {"slices", d.slices, 1, batch.All},
		{"rank", d.rank, 1, virtualmod.MaxRank}, {"count", c.Int("count"), 1, 1 << 20},
	} {
		if f.value < f.least || f.value > f.atMost {
			return nil, usagef("--%s %d: it takes %d to %d", f.name, f.value, f.least, f.atMost)
		}
	}
	if rows := d.rows(); rows > maxTokens {
		return nil, usagef("--jobs %d, --sequences %d and --length %d make a step of %d tokens: it takes at most %d", d.jobs, d.micro, d.length, rows, maxTokens)
	}
	var err error
	if d.targets, err = virtualmod.ParseTargets(c.String("targets")); err != nil {
		return nil, usagef("--targets: %w", err)
	}
	return d, noArguments(c)
}

// rows is the most tokens of a step of the engine.
func (d *drill) rows() int { return d.jobs * d.micro * d.length }

// blocksEach is the number of cache blocks of a sequence.
func (d *drill) blocksEach() int { return (d.length + batch.BlockSize - 1) / batch.BlockSize }

// size makes room for the drill where nothing else was asked for.
func (d *drill) size(o *modelOptions) {
	o.trainRows, o.maxRows, o.ranks = d.rows(), d.rows(), []int{d.rank}
	if o.cacheTokens == 0 {
		o.cacheTokens = d.jobs * d.micro * d.blocksEach() * batch.BlockSize
	}
	if o.slots == 0 {
		o.slots = d.jobs + len(o.adapters)
	}
}

// fits refuses what the options leave too little room for.
func (d *drill) fits(o modelOptions, model weights.Config) error {
	context, n := model.MaxPositions, d.jobs*d.micro
	if o.context > 0 {
		context = o.context
	}
	cache := (o.cacheTokens + batch.BlockSize - 1) / batch.BlockSize
	switch {
	case d.length > context:
		return fmt.Errorf("--length %d: the context is %d", d.length, context)
	case n*d.blocksEach() > cache:
		return fmt.Errorf("%d sequences of %d tokens do not fit %d tokens of cache", n, d.length, cache*batch.BlockSize)
	case d.jobs+len(o.adapters) > o.slots:
		return fmt.Errorf("--jobs %d: there are %d slots, %d of them for --adapter", d.jobs, o.slots, len(o.adapters))
	}
	return nil
}

// run measures optimizer steps.
func (d *drill) run(ctx context.Context, s *session, count int) (measurement, error) {
	if err := d.begin(s); err != nil {
		return measurement{}, err
	}
	m, err := medianRun(ctx, count, func() (measurement, error) { return d.optimize(s) })
	m.memory = s.device.Peak()
	return m, err
}

// begin puts new adapters into training and makes the steps.
func (d *drill) begin(s *session) error {
	d.steps = make([]batch.Step, (d.sequences+d.micro-1)/d.micro)
	for i := range d.jobs {
		if err := d.addJob(s, i); err != nil {
			return err
		}
	}
	d.cut(s.engine.Slices())
	return nil
}

// cut adds the steps that go on with the backward passes of those with rows. The
// updates go with the last one.
func (d *drill) cut(each int) {
	var all []batch.Step
	for _, step := range d.steps {
		updates := step.Updates
		step.Updates, step.Backward = nil, d.slices
		all = append(all, step)
		for left := each - d.slices; left > 0; left -= d.slices {
			all = append(all, batch.Step{Backward: d.slices})
		}
		all[len(all)-1].Updates = updates
	}
	d.steps = all
}

// optimize runs one optimizer step of all jobs. Each of its steps starts while
// the one before runs, as the scheduler has it.
func (d *drill) optimize(s *session) (measurement, error) {
	last := &d.steps[len(d.steps)-1]
	for i := range last.Updates {
		last.Updates[i].Step++
	}
	started, ended := 0, 0
	m, err := measureSteps(len(d.steps), 0, func() (engine.StepStats, error) {
		for ; started < min(len(d.steps), ended+engine.Depth); started++ {
			if err := s.engine.Start(&d.steps[started]); err != nil {
				return engine.StepStats{}, err
			}
		}
		ended++
		_, err := s.engine.Wait()
		return s.engine.Stats(), err
	})
	m.steps, m.tokens = 1, d.jobs*d.sequences*d.length
	return m, err
}

// addJob puts a new adapter into training, and its sequences and its update
// into the steps.
func (d *drill) addJob(s *session, job int) error {
	a, err := virtualmod.NewAdapter(virtualmod.Spec{Rank: d.rank, Alpha: 16, Targets: d.targets}, s.engine.Model(), uint64(job))
	if err != nil {
		return err
	}
	a.Name = fmt.Sprintf("number %d of %d", job+1, d.jobs)
	trainee, err := s.base.Train(a)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, uint64(job)))
	for i := range d.sequences {
		step := &d.steps[i/d.micro]
		span := d.sequence(trainee.Slot(), random, int32(s.engine.Model().VocabSize))
		for b := range d.blocksEach() {
			span.Blocks = append(span.Blocks, int32(len(step.Spans)*d.blocksEach()+b))
		}
		step.Spans = append(step.Spans, span)
	}
	last := &d.steps[len(d.steps)-1]
	last.Updates = append(last.Updates, batch.Update{
		Slot: trainee.Slot(), Targets: d.sequences * (d.length - 1), LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Clip: 1,
	})
	return nil
}

// sequence is random tokens, of which all but the first are targets.
func (d *drill) sequence(slot int, random *rand.Rand, vocabulary int32) batch.Span {
	span := batch.Span{Kind: batch.Train, Slot: slot}
	for i := range d.length {
		span.Tokens = append(span.Tokens, random.Int32N(vocabulary))
		if i > 0 {
			span.Wants = append(span.Wants, batch.Want{Row: i - 1, Target: span.Tokens[i]})
		}
	}
	return span
}

// name is the benchmark's.
func (d *drill) name(c *cli.Context, s *session) string {
	each := "all"
	if d.slices != batch.All {
		each = strconv.Itoa(d.slices)
	}
	return fmt.Sprintf("BenchmarkTrain/%s/jobs=%d/sequences=%d/micro=%d/slices=%s/length=%d/rank=%d/targets=%s/recompute=%s",
		s.options.label(), d.jobs, d.sequences, d.micro, each, d.length, d.rank, benchName(c.String("targets")), c.String("recompute"))
}
