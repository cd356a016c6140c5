package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"loquetier/cli/replay"
	"loquetier/engine/batch"
	"loquetier/scheduler"
	"loquetier/train"
)

// Sizes of the jobs.
const (
	unifiedExamples = 64   // sequences of random tokens
	unifiedLength   = 1024 // most tokens of them where nothing else is asked for
	unifiedLR       = 1e-5 // small: random weights learn nothing
	serveCache      = 32768
)

// prepareJobs makes the jobs' data and adapters, and room for them. What jobs
// write is gone when the session is closed.
func (u *unified) prepareJobs() error {
	t, o := &u.training, &u.session.options
	o.ranks = append(o.ranks, u.rank)
	if u.length == 0 {
		u.length = max(2, min(unifiedLength, t.context()/8))
	}
	if err := u.checkSlots(); err != nil {
		return err
	}
	if o.slots == 0 {
		o.slots = max(u.slots(), u.adapters+u.jobCount)
	}
	if u.jobCount == 0 {
		return nil
	}
	if u.length >= t.context() {
		return fmt.Errorf("--length %d: the context is %d", u.length, t.context())
	}
	dir, err := os.MkdirTemp("", "loquetier-bench-")
	if err != nil {
		return fmt.Errorf("a folder for the jobs: %w", err)
	}
	u.later(func() error { return os.RemoveAll(dir) })
	for i := range u.jobCount {
		if err := u.addJob(i, dir); err != nil {
			return err
		}
	}
	if err := firstError(u.sizeTraining(), u.checkLength()); err != nil {
		return err
	}
	for _, j := range t.jobs {
		bytes, err := j.adapter.TrainingBytes(t.device, t.checkpoint, t.engineConfig())
		if err := firstError(err, train.Check(t.config(j))); err != nil {
			return err
		}
		o.reserve += bytes
	}
	return nil
}

// addJob makes a job that trains a new adapter until it is told to leave.
func (u *unified) addJob(i int, dir string) error {
	name := fmt.Sprintf("job-%d", i+1)
	settings := train.DefaultSettings()
	settings.Rank, settings.MicroBatch, settings.Seed = u.rank, u.micro, u.seed+uint64(i)
	settings.Steps, settings.Epochs, settings.LR, settings.Schedule = math.MaxInt32, 0, unifiedLR, train.Constant
	j := &trainingJob{jobOptions: jobOptions{name: name, out: filepath.Join(dir, name), settings: settings}}
	random := rand.New(rand.NewPCG(settings.Seed, 2))
	j.data = &train.Dataset{Name: name}
	for range unifiedExamples {
		ids := randomTokens(random, u.length+1, u.training.checkpoint.Config.VocabSize) // the last is only a target
		j.data.Examples = append(j.data.Examples, train.Example{IDs: ids, Targets: append([]bool{false}, slices.Repeat([]bool{true}, u.length)...)})
	}
	u.training.jobs = append(u.training.jobs, j)
	return u.training.newAdapter(j)
}

// sizeTraining decides how many training rows a step takes, as for train, and
// makes room in the cache for them beside the requests.
func (u *unified) sizeTraining() error {
	o := &u.session.options
	most, err := u.session.trainRows(u.training.checkpoint)
	if err != nil {
		return err
	}
	o.trainRows = min(max(u.length, min(u.length*u.micro*u.jobCount, most)), mostTrainRows)
	if u.mostRows > 0 {
		o.trainRows = u.mostRows
	}
	if o.cacheTokens == 0 {
		o.cacheTokens = min(8*u.training.context(), serveCache) + 2*o.trainRows
	}
	return nil
}

// checkSlots refuses adapters that are not there, and slots that are too few: requests hold
// theirs from beginning to end.
func (u *unified) checkSlots() error {
	o := &u.session.options
	if !o.randomAdapters() {
		if _, err := o.firstAdapters(u.adapters); err != nil {
			return err
		}
	}
	if need := u.adapters + u.jobCount; o.slots > 0 && need > o.slots {
		return fmt.Errorf("--slots %d: %s and %s take %d", o.slots, counted(u.adapters, "adapter"), counted(u.jobCount, "job"), need)
	}
	return nil
}

// checkLength refuses sequences that no step takes.
func (u *unified) checkLength() error {
	rows, cache := u.session.options.trainRows, u.engineConfig().CacheBlocks*batch.BlockSize
	switch {
	case u.length > rows:
		return fmt.Errorf("--length %d: a step takes %d training rows: choose a larger --train-rows or a smaller --length", u.length, rows)
	case u.length > cache:
		return fmt.Errorf("--length %d: the cache has room for %d tokens: choose a larger --cache-tokens or a smaller --length", u.length, cache)
	}
	return nil
}

// standalone measures the training tokens a second with nothing beside, and
// no targets that could keep steps short; 0 where there are no jobs.
func (u *unified) standalone(ctx context.Context) (rate float64, err error) {
	if u.jobCount == 0 {
		return 0, nil
	}
	u.view.begin("training alone", 0)
	err = u.apart(func() error {
		if rate, err = u.trainFor(ctx, u.alone); err != nil {
			return err
		}
		return u.endJobs()
	})
	return rate, err
}

// apart runs f with a scheduler of its own, without targets. The session's,
// which has nothing to do meanwhile, leaves the device alone, and learns nothing of these steps.
func (u *unified) apart(f func() error) error {
	own := u.scheduler
	defer func() { u.scheduler = own }()
	u.scheduler = scheduler.New(u.engine)
	defer u.drive(u.scheduler)()
	return f()
}

// trainFor starts the jobs and measures their tokens a second over a time, or
// over as many steps as it takes; the jobs go on.
func (u *unified) trainFor(ctx context.Context, length time.Duration) (float64, error) {
	u.trained.leave.Store(false)
	start := time.Now()
	for _, j := range u.training.jobs {
		if err := u.startJob(j); err != nil {
			return 0, err
		}
	}
	for wait := length; ; wait = 100 * time.Millisecond {
		if err := firstError(sleep(ctx, wait), u.training.outcome()); err != nil {
			return 0, err
		}
		if trained := u.trained.since(start); len(trained) >= leastPieces {
			return replay.Rate(trained), nil
		}
	}
}

// leastPieces is how many pieces of training make a rate, and tell the
// scheduler what to expect.
const leastPieces = 4

func (u *unified) startJob(j *trainingJob) (err error) {
	j.overwrite = true // what it left the last time
	attach := func() {
		if j.trainee, err = u.base.Train(j.adapter); err != nil {
			return
		}
		if err = u.training.newJob(j, nil); err != nil {
			err = errors.Join(err, j.trainee.End())
		}
	}
	if stopped := u.scheduler.Do(attach); stopped != nil || err != nil {
		return firstError(err, stopped)
	}
	source := &timedJob{Job: j.job, log: &u.trained}
	if err := u.scheduler.Train(source); err != nil {
		j.job.Fail(err)
		return err
	}
	return nil
}

// endJobs lets the jobs leave, which saves nothing, and takes them off the
// device.
func (u *unified) endJobs() error {
	u.trained.leave.Store(true)
	for _, j := range u.training.jobs {
		<-j.job.Ended()
		err := j.job.Err()
		if stopped := u.scheduler.Do(func() { err = errors.Join(err, j.trainee.End()) }); stopped != nil || err != nil {
			return j.wrap(firstError(err, stopped))
		}
	}
	return nil
}

// timedJob is a job whose progress is noted, and which leaves between two of
// its steps when it is told to.
type timedJob struct {
	*train.Job
	log     *trainedLog
	offered int // tokens
}

// Next offers the job's next work.
func (j *timedJob) Next(rows, blocks int) ([]batch.Span, []batch.Update) {
	if j.log.leave.Load() {
		j.Leave()
		return nil, nil
	}
	spans, updates := j.Job.Next(rows, blocks)
	j.offered = 0
	for i := range spans {
		j.offered += len(spans[i].Tokens)
	}
	return spans, updates
}

// Commit takes what came of it.
func (j *timedJob) Commit(picks [][]batch.Pick, norms []float64) {
	j.Job.Commit(picks, norms)
	j.log.add(j.offered)
}

// trainedLog is when how many training tokens were complete.
type trainedLog struct {
	leave atomic.Bool // the jobs are to leave

	mu    sync.Mutex // guards what follows
	times []time.Time
	count []int // tokens
}

func (l *trainedLog) add(tokens int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times, l.count = append(l.times, time.Now()), append(l.count, tokens)
}

// since is the progress after a time.
func (l *trainedLog) since(start time.Time) []replay.Progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []replay.Progress
	for i, at := range l.times {
		if d := at.Sub(start); d > 0 {
			all = append(all, replay.Progress{At: d, Tokens: l.count[i]})
		}
	}
	return all
}

// total is all tokens so far.
func (l *trainedLog) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, tokens := range l.count {
		n += tokens
	}
	return n
}
