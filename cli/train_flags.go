package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/train"
)

// jobOptions say what one job trains on what. In a file of jobs they are
// named as the flags.
type jobOptions struct {
	name     string // for messages; "" where there is only one job
	dataFile string
	evalFile string
	out      string
	logFile  string
	detach   string // job file to write at an interrupt; "": none
	settings train.Settings

	resume, overwrite bool
}

// wrap puts the job's name in front of an error where there are several.
func (o jobOptions) wrap(err error) error {
	if err == nil || o.name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", o.name, err)
}

func trainFlags() []cli.Flag {
	d := train.DefaultSettings()
	return []cli.Flag{
		&cli.StringFlag{Name: "data", Usage: "`FILE` to train on: .jsonl, or .txt with --block"},
		&cli.StringFlag{Name: "out", Usage: "`DIR` for the adapter, its log, its loss curve and what --resume needs"},
		&cli.StringFlag{Name: "jobs", Usage: "`FILE` with a job a line, as JSON objects with the names of these flags, to train at once"},
		&cli.StringFlag{Name: "init", Usage: "`DIR` of an adapter to start from: its rank, alpha and targets"},
		&cli.IntFlag{Name: "rank", Value: d.Rank, Usage: "rank `R` of a new adapter"},
		&cli.Float64Flag{Name: "alpha", Value: d.Alpha, Usage: "a new adapter's product is scaled by `ALPHA`/rank"},
		&cli.BoolFlag{Name: "rslora", DisableDefaultText: true, Usage: "scale by alpha/sqrt(rank) instead"},
		&cli.StringFlag{Name: "targets", Value: d.Targets, Usage: "`MODULES` of a new adapter: all, or q_proj,v_proj and so on"},
		&cli.IntFlag{Name: "block", Usage: "cut a .txt file into blocks of `N` tokens"},
		&cli.BoolFlag{Name: "truncate", DisableDefaultText: true, Usage: "cut sequences that are longer than the context"},
		&cli.IntFlag{Name: "steps", DefaultText: "as many as --epochs takes", Usage: "train `N` optimizer steps"},
		&cli.IntFlag{Name: "epochs", Value: d.Epochs, Usage: "train `N` times over the data"},
		&cli.IntFlag{Name: "stop-after", DefaultText: "the end", Usage: "end after `N` steps in all, to be resumed"},
		&cli.IntFlag{Name: "micro-batch", Value: d.MicroBatch, Usage: "`N` sequences of a micro-batch"},
		&cli.IntFlag{Name: "accumulate", Value: d.Accumulate, Usage: "`N` micro-batches of an optimizer step"},
		&cli.BoolFlag{Name: "no-shuffle", DisableDefaultText: true, Usage: "take the sequences in the file's order"},
		&cli.Uint64Flag{Name: "seed", Usage: "`SEED` of the order and of a new adapter's weights"},
		&cli.StringFlag{Name: "optimizer", Value: d.Optimizer, Usage: "`RULE` of the updates: adamw or sgd"},
		&cli.Float64Flag{Name: "lr", Value: d.LR, Usage: "learning `RATE`"},
		&cli.IntFlag{Name: "warmup", Usage: "raise the learning rate over the first `N` steps"},
		&cli.StringFlag{Name: "schedule", Value: d.Schedule, Usage: "`COURSE` of the learning rate: linear, cosine or constant"},
		&cli.Float64Flag{Name: "beta1", Value: d.Beta1, Usage: "AdamW's first `BETA`"},
		&cli.Float64Flag{Name: "beta2", Value: d.Beta2, Usage: "AdamW's second `BETA`"},
		&cli.Float64Flag{Name: "eps", Value: d.Eps, Usage: "AdamW's `EPSILON`"},
		&cli.Float64Flag{Name: "weight-decay", Value: d.WeightDecay, Usage: "decoupled weight `DECAY`"},
		&cli.Float64Flag{Name: "clip", Value: d.Clip, Usage: "largest `NORM` of the gradient; 0 for any"},
		&cli.StringFlag{Name: "eval-data", Usage: "`FILE` to measure the loss on"},
		&cli.IntFlag{Name: "eval-every", DefaultText: "first and last", Usage: "measure it every `N` steps"},
		&cli.IntFlag{Name: "save-every", DefaultText: "the end", Usage: "save every `N` steps"},
		&cli.BoolFlag{Name: "resume", DisableDefaultText: true, Usage: "go on from what is saved in --out"},
		&cli.BoolFlag{Name: "overwrite", DisableDefaultText: true, Usage: "begin anew in a folder that holds a job"},
		&cli.StringFlag{Name: "log", Usage: "write the log to `FILE` as well"},
		&cli.StringFlag{Name: "detach", Usage: "at an interrupt, also write the job to `FILE`, to go on with it elsewhere"},
		&cli.BoolFlag{Name: "plan", DisableDefaultText: true, Usage: "print what the run will take of the device, and end"},
		&cli.IntFlag{Name: "train-rows", DefaultText: "what keeps the device busy", Usage: "most training rows of a step, `N` tokens"},
		recomputeFlag(),
	}
}

func recomputeFlag() cli.Flag {
	return &cli.StringFlag{Name: "recompute", Value: "auto", Usage: "compute activations again for the backward pass: auto (as `MODE`), on or off"}
}

// recomputeOf reads --recompute.
func recomputeOf(c *cli.Context) (engine.Recompute, error) {
	switch mode := c.String("recompute"); mode {
	case "auto", "":
		return engine.RecomputeAuto, nil
	case "on":
		return engine.RecomputeAlways, nil
	case "off":
		return engine.RecomputeNever, nil
	default:
		return 0, usagef("--recompute %q: known are auto, on, off", mode)
	}
}

// jobOptionsOf reads the jobs: the flags', or the file's, for which the flags
// are the defaults.
func jobOptionsOf(c *cli.Context) ([]jobOptions, error) {
	o, err := flaggedJob(c)
	if err != nil {
		return nil, err
	}
	if name := c.String("jobs"); name != "" {
		if o.out != "" {
			return nil, usagef("--jobs and --out exclude each other: every job has its own")
		}
		if o.detach != "" {
			return nil, usagef("--jobs and --detach exclude each other: every job has its own")
		}
		return readJobs(name, o)
	}
	switch {
	case o.dataFile == "":
		return nil, missing(c, "data")
	case o.out == "":
		return nil, missing(c, "out")
	}
	if err := o.settings.Check(); err != nil {
		return nil, usageError{err}
	}
	return []jobOptions{o}, nil
}

func flaggedJob(c *cli.Context) (jobOptions, error) {
	o := jobOptions{
		dataFile: c.String("data"), evalFile: c.String("eval-data"), out: c.String("out"), logFile: c.String("log"), detach: c.String("detach"),
		resume: c.Bool("resume"), overwrite: c.Bool("overwrite"),
		settings: train.Settings{
			Init: c.String("init"), Rank: c.Int("rank"), Alpha: c.Float64("alpha"), RSLoRA: c.Bool("rslora"), Targets: c.String("targets"),
			Block: c.Int("block"), Truncate: c.Bool("truncate"), Steps: c.Int("steps"), Epochs: c.Int("epochs"),
			MicroBatch: c.Int("micro-batch"), Accumulate: c.Int("accumulate"), NoShuffle: c.Bool("no-shuffle"), Seed: c.Uint64("seed"),
			Optimizer: c.String("optimizer"), LR: c.Float64("lr"), Warmup: c.Int("warmup"), Schedule: c.String("schedule"),
			Beta1: c.Float64("beta1"), Beta2: c.Float64("beta2"), Eps: c.Float64("eps"),
			WeightDecay: c.Float64("weight-decay"), Clip: c.Float64("clip"),
			StopAfter: c.Int("stop-after"), EvalEvery: c.Int("eval-every"), SaveEvery: c.Int("save-every"),
		},
	}
	if c.IsSet("steps") && !c.IsSet("epochs") {
		o.settings.Epochs = 0
	}
	for _, flag := range []string{"steps", "epochs", "block", "stop-after", "eval-every", "save-every"} {
		if c.IsSet(flag) && c.Int(flag) < 1 {
			return o, usagef("--%s %d: it takes 1 or more", flag, c.Int(flag))
		}
	}
	if err := adapterBringsItsOwn(o.settings.Init, c.IsSet); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// adapterBringsItsOwn refuses what an adapter to start from decides.
func adapterBringsItsOwn(init string, isSet func(name string) bool) error {
	for _, name := range []string{"rank", "alpha", "targets", "rslora"} {
		if init != "" && isSet(name) {
			return fmt.Errorf("--init and --%s exclude each other: the adapter brings its own", name)
		}
	}
	return nil
}

// wireJob is a line of a file of jobs.
type wireJob struct {
	Data      string `json:"data"`
	EvalData  string `json:"eval-data"`
	Out       string `json:"out"`
	Log       string `json:"log"`
	Detach    string `json:"detach"`
	Resume    bool   `json:"resume"`
	Overwrite bool   `json:"overwrite"`
	*train.Settings
}

// maxJobs is the most jobs of a file.
const maxJobs = 1024

// readJobs reads a job a line. Its errors name the line.
func readJobs(name string, defaults jobOptions) (jobs []jobOptions, err error) {
	lines, err := train.OpenLines(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lines.Close()) }()
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		o, err := parseJob(line, defaults)
		if err == nil {
			err = o.apartFrom(jobs)
		}
		if err == nil && len(jobs) == maxJobs {
			err = fmt.Errorf("more than %d jobs", maxJobs)
		}
		if err != nil {
			return nil, lines.Errorf(err)
		}
		jobs = append(jobs, o)
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s: no jobs", name)
	}
	return jobs, nil
}

func parseJob(line []byte, defaults jobOptions) (jobOptions, error) {
	o := defaults
	var set map[string]json.RawMessage
	w := wireJob{Data: o.dataFile, EvalData: o.evalFile, Out: o.out, Log: o.logFile, Detach: o.detach, Resume: o.resume, Overwrite: o.overwrite, Settings: &o.settings}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := firstError(decoder.Decode(&w), json.Unmarshal(line, &set)); err != nil {
		return o, train.JSONError(err)
	}
	switch steps, epochs := set["steps"] != nil, set["epochs"] != nil; {
	case steps && !epochs:
		o.settings.Epochs = 0
	case epochs && !steps:
		o.settings.Steps = 0
	}
	if err := adapterBringsItsOwn(o.settings.Init, func(name string) bool { return set[name] != nil }); err != nil {
		return o, err
	}
	o.name, o.dataFile, o.evalFile, o.out, o.logFile, o.detach, o.resume, o.overwrite = w.Out, w.Data, w.EvalData, w.Out, w.Log, w.Detach, w.Resume, w.Overwrite
	switch {
	case o.dataFile == "":
		return o, errors.New("data is missing")
	case o.out == "":
		return o, errors.New("out is missing")
	}
	return o, o.settings.Check()
}

// apartFrom refuses a job that would write to another one's folder or files.
func (o jobOptions) apartFrom(others []jobOptions) error {
	for _, other := range others {
		for _, f := range []struct{ name, mine, theirs string }{
			{"out", o.out, other.out}, {"log", o.logFile, other.logFile}, {"detach", o.detach, other.detach},
		} {
			if f.mine != "" && f.theirs != "" && resolved(f.mine) == resolved(f.theirs) {
				return fmt.Errorf("%s %q is another job's as well", f.name, f.mine)
			}
		}
	}
	return nil
}

// resolved is a path by which files can be compared, as far as they are there.
func resolved(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		path = whole
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

// lateLog is the file that a job's log goes to as well. It is opened when the
// first line comes, so that a job that is refused empties nothing: anew, or at its
// end when the job is resumed.
type lateLog struct {
	path   string
	resume bool
	file   *os.File
}

func (l *lateLog) Write(line []byte) (int, error) {
	if l.file == nil {
		flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
		if l.resume {
			flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND
		}
		var err error
		if l.file, err = os.OpenFile(l.path, flags, 0o666); err != nil {
			return 0, err
		}
	}
	return l.file.Write(line)
}

// checkLog refuses, before anything is loaded, a log that could not be written.
func (o jobOptions) checkLog() error {
	if _, err := os.Stat(filepath.Dir(o.logFile)); o.logFile == "" || err != nil {
		return nil // the folder may be the job's, which is not there yet
	}
	if err := tryFile(o.logFile); err != nil {
		return fmt.Errorf("--log: %w", err)
	}
	return nil
}

// Close closes what was opened.
func (l *lateLog) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
