package train

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"loquetier/engine/batch"
)

// The rules by which weights are updated.
const (
	AdamW = "adamw"
	SGD   = "sgd"
)

// Settings are all that is chosen about a job, named as the flags are.
type Settings struct {
	Init    string  `json:"init"`    // folder of the adapter to start from; it decides the next four
	Rank    int     `json:"rank"`    // of every module
	Alpha   float64 `json:"alpha"`   // the product is scaled by alpha/rank
	RSLoRA  bool    `json:"rslora"`  // by alpha/sqrt(rank)
	Targets string  `json:"targets"` // the modules: all, or their names

	Block    int  `json:"block"`    // tokens in a block of a .txt; 0: none was asked for
	Truncate bool `json:"truncate"` // cut off what no step can take

	Steps      int    `json:"steps"`       // optimizer steps; 0: as many as Epochs take
	Epochs     int    `json:"epochs"`      // passes over the data; 0: Steps counts
	MicroBatch int    `json:"micro-batch"` // sequences
	Accumulate int    `json:"accumulate"`  // micro-batches of an optimizer step
	NoShuffle  bool   `json:"no-shuffle"`  // the file's order; else another one in every epoch
	Seed       uint64 `json:"seed"`        // of the order, and of a new adapter's weights

	Optimizer   string  `json:"optimizer"`
	LR          float64 `json:"lr"` // the learning rate after the warm-up
	Warmup      int     `json:"warmup"`
	Schedule    string  `json:"schedule"`
	Beta1       float64 `json:"beta1"`
	Beta2       float64 `json:"beta2"`
	Eps         float64 `json:"eps"`
	WeightDecay float64 `json:"weight-decay"`
	Clip        float64 `json:"clip"` // largest norm of the gradient; 0: any

	StopAfter int `json:"stop-after"` // end early after that many steps in all; 0: do not
	EvalEvery int `json:"eval-every"` // steps between evaluations; 0: before the first step and after the last
	SaveEvery int `json:"save-every"` // steps between checkpoints; 0: one, at the end
}

// DefaultSettings are the settings where nothing is said.
func DefaultSettings() Settings {
	return Settings{
		Rank: 8, Alpha: 16, Targets: "all",
		Epochs: 3, MicroBatch: 8, Accumulate: 1,
		Optimizer: AdamW, LR: 2e-4, Schedule: Linear, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.01, Clip: 1,
	}
}

// mayDiffer are the settings that a resumed job may change: they change
// nothing about its steps.
var mayDiffer = []string{"stop-after", "eval-every", "save-every"}

// The largest counts: a position in the order of sequences, their product, is
// an int64.
const (
	mostSteps = math.MaxInt32
	mostBatch = 1 << 16
)

// Check refuses settings that no job can have. The error names the flag and
// its value. What concerns a new adapter is checked by who makes it.
func (s Settings) Check() error {
	if err := s.checkCounts(); err != nil {
		return err
	}
	if err := s.checkNumbers(); err != nil {
		return err
	}
	switch {
	case s.Steps == 0 && s.Epochs == 0:
		return fmt.Errorf("--steps or --epochs is missing")
	case s.Steps > 0 && s.Epochs > 0:
		return fmt.Errorf("--steps and --epochs exclude each other")
	case s.Block == 1:
		return fmt.Errorf("--block 1: it takes 2 or more")
	case !slices.Contains([]string{Linear, Cosine, Constant}, s.Schedule):
		return fmt.Errorf("--schedule %q: known are linear, cosine, constant", s.Schedule)
	case s.Optimizer != AdamW && s.Optimizer != SGD:
		return fmt.Errorf("--optimizer %q: known are adamw, sgd", s.Optimizer)
	}
	return nil
}

func (s Settings) checkCounts() error {
	for _, c := range []struct {
		flag               string
		value, least, most int
	}{
		{"block", s.Block, 0, mostSteps},
		{"steps", s.Steps, 0, mostSteps},
		{"epochs", s.Epochs, 0, mostSteps},
		{"micro-batch", s.MicroBatch, 1, mostBatch},
		{"accumulate", s.Accumulate, 1, mostBatch},
		{"warmup", s.Warmup, 0, mostSteps},
		{"stop-after", s.StopAfter, 0, mostSteps},
		{"eval-every", s.EvalEvery, 0, mostSteps},
		{"save-every", s.SaveEvery, 0, mostSteps},
	} {
		if c.value < c.least || c.value > c.most {
			return fmt.Errorf("--%s %d: it takes %d to %d", c.flag, c.value, c.least, c.most)
		}
	}
	return nil
}

// leastNormal is the least float32 that devices tell from 0.
const leastNormal = 0x1p-126

func (s Settings) checkNumbers() error {
	for _, c := range []struct {
		flag  string
		value float64
		ok    bool // beside being a finite float32
		want  string
	}{
		{"lr", s.LR, s.LR > 0, "a number above 0"},
		{"beta1", s.Beta1, s.Beta1 >= 0 && s.Beta1 < 1, "0 or more, below 1"},
		{"beta2", s.Beta2, s.Beta2 >= 0 && s.Beta2 < 1, "0 or more, below 1"},
		{"eps", s.Eps, s.Eps >= leastNormal, "a number of 1.2e-38 or more"},
		{"weight-decay", s.WeightDecay, s.WeightDecay >= 0, "a number of 0 or more"},
		{"clip", s.Clip, s.Clip >= 0, "a number of 0 or more"},
	} {
		if !c.ok || c.value >= math.MaxFloat32 {
			return fmt.Errorf("--%s %v: it takes %s", c.flag, c.value, c.want)
		}
	}
	return nil
}

// batch is the number of sequences in an optimizer step.
func (s Settings) batch() int { return s.MicroBatch * s.Accumulate }

// steps is the number of optimizer steps of the whole run over n sequences:
// the last epoch's last step goes on into the next one.
func (s Settings) steps(n int) (int, error) {
	steps := s.Steps
	if steps == 0 {
		steps = (s.Epochs*n + s.batch() - 1) / s.batch()
	}
	switch {
	case steps > mostSteps:
		return 0, fmt.Errorf("--epochs %d: %d sequences make %d steps, at most %d are taken", s.Epochs, n, steps, mostSteps)
	case s.Warmup > steps:
		return 0, fmt.Errorf("--warmup %d: there are only %d steps", s.Warmup, steps)
	}
	return steps, nil
}

// update is an update of a slot at a step, as the settings say.
func (s Settings) update(slot, step, steps int) batch.Update {
	u := batch.Update{
		Slot: slot, LR: Schedule{s.Schedule, s.LR, s.Warmup, steps}.At(step),
		Beta1: s.Beta1, Beta2: s.Beta2, Eps: s.Eps, WeightDecay: s.WeightDecay, Clip: s.Clip,
	}
	if s.Optimizer == SGD {
		u.Optimizer = batch.SGD
	}
	return u
}

// same returns nil where a job with settings s can go on from a checkpoint of
// a job with settings saved; else it names the first that differs.
func (s Settings) same(saved Settings) error {
	now, before := reflect.ValueOf(s), reflect.ValueOf(saved)
	for i := range now.NumField() {
		name, _, _ := strings.Cut(now.Type().Field(i).Tag.Get("json"), ",")
		a, b := now.Field(i).Interface(), before.Field(i).Interface()
		if a != b && !slices.Contains(mayDiffer, name) {
			return fmt.Errorf("--%s: the checkpoint has %v, now it is %v", name, quoted(b), quoted(a))
		}
	}
	return nil
}

// Flags are the settings as they are written on a command line, without those
// that are the default.
func (s Settings) Flags() []string {
	var all []string
	now, usual := reflect.ValueOf(s), reflect.ValueOf(DefaultSettings())
	for i := range now.NumField() {
		name, _, _ := strings.Cut(now.Type().Field(i).Tag.Get("json"), ",")
		switch value := now.Field(i).Interface(); {
		case value == usual.Field(i).Interface() || name == "epochs" && s.Steps > 0:
		case value == true:
			all = append(all, "--"+name)
		default:
			all = append(all, "--"+name, fmt.Sprint(value))
		}
	}
	return all
}

// quoted is a value as messages show it.
func quoted(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(v)
}
