package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/engine/weights"
	"loquetier/train"
	"loquetier/virtualmod"
)

func trainCommand() *cli.Command {
	return &cli.Command{
		Name: "train", Usage: "fine-tune adapters of a model, one or several at once",
		Flags: modelFlags(append(trainFlags(), decisionsFlag())...),
		Description: `loquetier train --model stories --data stories.jsonl --out tuned --rank 8 --steps 200 --lr 1e-3
loquetier train --model DIR --data book.txt --block 128 --eval-data rest.txt --eval-every 50 --out tuned
loquetier train --model DIR --jobs jobs.jsonl`,
		Action: trainAction,
	}
}

// trainAction checks everything about the jobs before the model is loaded.
func trainAction(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	o, err := modelOptionsOf(c)
	if err != nil {
		return err
	}
	jobs, err := jobOptionsOf(c)
	if err != nil {
		return err
	}
	return withCheckpoint(c, o, func(s *session, checkpoint *weights.Checkpoint) error {
		t := &training{session: s, checkpoint: checkpoint}
		if s.options.recompute, err = recomputeOf(c); err != nil {
			return err
		}
		if err := t.prepare(c, jobs); err != nil {
			return err
		}
		if c.Bool("plan") {
			return t.printPlan(c.App.Writer)
		}
		return t.run(c)
	})
}

// training is one or several jobs on one base.
type training struct {
	*session
	checkpoint *weights.Checkpoint
	jobs       []*trainingJob
}

// trainingJob is a job from its options to its end.
type trainingJob struct {
	jobOptions
	data, eval *train.Dataset
	adapter    *virtualmod.Adapter // what it begins with
	init       weights.Folder      // where that is read from; nil for a new one
	trainee    *virtualmod.Trainee
	job        *train.Job // nil until it has begun
}

// prepare reads the data and makes the adapters, and from that decides how
// many rows a step takes.
func (t *training) prepare(c *cli.Context, jobs []jobOptions) error {
	for _, o := range jobs {
		j := &trainingJob{jobOptions: o}
		if err := t.prepareJob(j); err != nil {
			return o.wrap(err)
		}
		t.jobs = append(t.jobs, j)
	}
	if err := t.size(c); err != nil {
		return err
	}
	for _, j := range t.jobs {
		if err := train.Check(t.config(j)); err != nil {
			return j.wrap(err)
		}
		bytes, err := j.adapter.TrainingBytes(t.device, t.checkpoint, t.engineConfig())
		if err != nil {
			return j.wrap(err)
		}
		t.session.options.reserve += bytes
	}
	return nil
}

func (t *training) prepareJob(j *trainingJob) (err error) {
	if err := firstError(j.checkDetach(), j.checkLog()); err != nil {
		return err
	}
	config := t.checkpoint.Config
	reader := train.Reader{Text: t.text, Vocabulary: config.VocabSize, Block: j.settings.Block}
	if j.data, err = reader.Load(j.dataFile); err != nil {
		return blockMissing(err)
	}
	if j.evalFile != "" {
		if j.eval, err = reader.Load(j.evalFile); err != nil {
			return blockMissing(err)
		}
	}
	if j.settings.Init == "" {
		return t.newAdapter(j)
	}
	return t.readInit(j)
}

// readInit reads the adapter to start from.
func (t *training) readInit(j *trainingJob) (err error) {
	if j.resume {
		return t.readResumed(j)
	}
	if j.init, err = openAdapter(j.settings.Init); err != nil {
		return err
	}
	t.later(j.init.Close)
	if j.adapter, err = virtualmod.ReadPEFT(j.init, t.checkpoint.Config); err != nil {
		return fmt.Errorf("--init %s: %w", j.settings.Init, err)
	}
	return nil
}

// readResumed reads the shape of a job's adapter from its checkpoint: the job
// may have come from elsewhere without the folder it started from. No file of the
// checkpoint stays open, so that the job can remove it.
func (t *training) readResumed(j *trainingJob) error {
	dir, _, err := train.Latest(j.out)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	return withAdapter(dir, func(folder weights.Folder) error {
		a, err := virtualmod.ReadPEFT(folder, t.checkpoint.Config)
		if err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		j.adapter = a.Clone()
		j.adapter.Name = j.out
		return nil
	})
}

// blockMissing words a missing flag as wrong usage.
func blockMissing(err error) error {
	if errors.Is(err, train.ErrNoBlock) {
		return usagef("%w", err)
	}
	return err
}

func (t *training) newAdapter(j *trainingJob) error {
	targets, err := virtualmod.ParseTargets(j.settings.Targets)
	if err != nil {
		return usagef("--targets: %w", err)
	}
	j.adapter, err = virtualmod.NewAdapter(virtualmod.Spec{
		Rank: j.settings.Rank, Alpha: j.settings.Alpha, RSLoRA: j.settings.RSLoRA, Targets: targets,
	}, t.checkpoint.Config, j.settings.Seed)
	if err != nil {
		return usagef("%w", err)
	}
	j.adapter.Name, j.adapter.Base = j.out, t.options.model
	return nil
}

// Rows of a training step where nothing else is asked for: what keeps a device
// busy.
const (
	softwareTrainRows = 1024
	mostTrainRows     = 65535 // workgroups that every device takes in each direction
)

// size decides how many training rows a step takes: as asked for, or those of
// the jobs' micro-batches together, up to what keeps the device busy and at least
// the longest sequence.
func (t *training) size(c *cli.Context) error {
	longest, all := 0, 0
	for _, j := range t.jobs {
		l := max(j.data.Longest(), j.eval.Longest())
		longest, all = max(longest, min(l, t.context())), all+l*j.settings.MicroBatch
	}
	most, err := t.trainRows(t.checkpoint)
	if err != nil {
		return err
	}
	rows := min(max(longest, min(all, most)), mostTrainRows)
	if asked := c.Int("train-rows"); c.IsSet("train-rows") {
		if asked < 2 || asked > mostTrainRows {
			return usagef("--train-rows %d: it takes 2 to %d", asked, mostTrainRows)
		}
		rows = asked
	}
	o := &t.session.options
	o.trainRows, o.maxRows = rows, rows
	for _, j := range t.jobs {
		o.ranks = append(o.ranks, j.adapter.Info().Ranks...)
	}
	switch jobs := len(t.jobs); {
	case o.slots == 0:
		o.slots = max(t.slots(), jobs)
	case o.slots < jobs:
		return usagef("--slots %d: %s take %d", o.slots, counted(jobs, "job"), jobs)
	}
	if o.cacheTokens == 0 {
		o.cacheTokens = 2*rows + 16*len(t.jobs) // a sequence's last block may be nearly empty
	}
	return nil
}

// trainRows is the number of training rows that a step of the device should
// take at most where nothing else is asked for.
func (s *session) trainRows(checkpoint *weights.Checkpoint) (int, error) {
	if s.software() {
		return softwareTrainRows, nil
	}
	return engine.TrainRows(s.device, checkpoint, s.engineConfig())
}

// context is the longest sequence.
func (t *training) context() int {
	if n := t.options.context; n > 0 {
		return n
	}
	return t.checkpoint.Config.MaxPositions
}

// run loads the model, runs all jobs together, and returns the first error.
func (t *training) run(c *cli.Context) error {
	if err := firstError(t.serve(c.Context, t.checkpoint), c.Context.Err()); err != nil {
		return err
	}
	view := newTrainView(c, t.jobs)
	err := t.beginAll(c, view)
	if err != nil {
		t.stopAll()
	}
	defer context.AfterFunc(c.Context, t.stopAll)()
	for _, j := range t.jobs {
		if j.job != nil {
			<-j.job.Ended()
		}
	}
	var saved error
	if c.Context.Err() != nil {
		saved = unsaved(t.outcome(), t.detach(view))
	}
	return firstError(view.wait(), saved, errors.Join(err, t.outcome()), c.Context.Err())
}

func (t *training) beginAll(c *cli.Context, view *trainView) error {
	for i, j := range t.jobs {
		if c.Context.Err() != nil {
			return c.Context.Err()
		}
		if err := t.begin(j, func(e train.Event) { view.tell(i, e) }); err != nil {
			return j.wrap(err)
		}
	}
	return nil
}

// stopAll asks the jobs that run to save and end.
func (t *training) stopAll() {
	for _, j := range t.jobs {
		if j.job != nil {
			j.job.Stop()
		}
	}
}

// outcome is the jobs' errors.
func (t *training) outcome() error {
	var all []error
	for _, j := range t.jobs {
		if j.job != nil {
			all = append(all, j.wrap(j.job.Err()))
		}
	}
	return errors.Join(all...)
}

// begin puts a job's adapter on the device and starts the job.
func (t *training) begin(j *trainingJob, events func(train.Event)) (err error) {
	if j.trainee, err = t.loader.Train(j.adapter); err != nil {
		return err
	}
	if err := t.newJob(j, events); err != nil { // which restores a job that is resumed beside the steps
		return errors.Join(err, t.loader.End(j.trainee))
	}
	if err := t.scheduler.Train(j.job); err != nil {
		j.job.Fail(err)
		return err
	}
	return nil
}

// newJob makes the job of an adapter that is on the device.
func (t *training) newJob(j *trainingJob, events func(train.Event)) error {
	config := t.config(j)
	config.Base = t.checkpoint.Fingerprint() + " with " + t.engine.Precision().String()
	config.Context, config.Rows, config.Blocks = t.engine.Context(), t.engine.TrainRows(), t.engine.CacheBlocks()
	config.Trainee, config.Events = j.trainee, events
	if j.logFile != "" {
		log := &lateLog{path: j.logFile, resume: j.resume}
		t.later(log.Close)
		config.Log = log
	}
	job, err := train.NewJob(config)
	j.job = job
	return err
}

// config is a job as far as it is known before the model is loaded.
func (t *training) config(j *trainingJob) train.Config {
	return train.Config{
		Settings: j.settings, Data: j.data, Eval: j.eval, Out: j.out, Resume: j.resume, Overwrite: j.overwrite,
		Context: t.context(), Rows: t.options.trainRows, Blocks: t.engineConfig().CacheBlocks, WriteAdapter: (*virtualmod.Adapter).Write,
	}
}
