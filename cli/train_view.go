package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"loquetier/train"
)

// trainView shows how jobs come along: a bar for each on a terminal, some
// lines elsewhere. Results go to out, progress to err.
type trainView struct {
	out, err io.Writer
	terminal bool
	jobs     []*jobView
	bars     *mpb.Progress // nil without a terminal

	mu   sync.Mutex // guards all of the above: jobs tell of themselves between steps
	fail error      // of writing
}

// jobView is what is known of a job.
type jobView struct {
	*trainingJob
	bar     *mpb.Bar
	last    train.StepRecord
	first   float64 // loss of the first step of this run
	tokens  int
	curve   train.Curve
	summary string // at the end
	begun   time.Time
	status  atomic.Pointer[string] // what the bar tells, for the bars' own goroutine
}

func newTrainView(c *cli.Context, jobs []*trainingJob) *trainView {
	v := &trainView{out: c.App.Writer, err: c.App.ErrWriter, terminal: isTerminal(c.App.ErrWriter)}
	for _, j := range jobs {
		v.jobs = append(v.jobs, &jobView{trainingJob: j, begun: time.Now()})
	}
	if v.terminal {
		v.bars = mpb.New(mpb.WithOutput(v.err), mpb.WithWidth(60))
	}
	return v
}

// tell takes a job's event.
func (v *trainView) tell(i int, e train.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j := v.jobs[i]
	switch e.Kind {
	case train.StepDone, train.StepSkipped:
		v.step(j, e)
	case train.Evaluated:
		j.curve.Eval = append(j.curve.Eval, train.Point{Step: e.Step, Loss: e.Loss})
		v.line(j, fmt.Sprintf("step %d: evaluation loss %.4f", e.Step, e.Loss))
	case train.Saved:
		if !v.terminal {
			v.line(j, fmt.Sprintf("step %d: saved", e.Step))
		}
	case train.Ended:
		v.ended(j, e)
	}
}

// step shows a step: on the bar, or every twentieth share of the run in a line.
func (v *trainView) step(j *jobView, e train.Event) {
	if j.tokens == 0 {
		j.first = float64(e.Record.Loss)
	}
	j.last, j.tokens = e.Record, j.tokens+e.Record.Tokens
	if e.Kind == train.StepSkipped {
		why := "the gradient is not finite"
		if e.Record.Targets == 0 {
			why = "its sequences have no targets"
		}
		v.line(j, fmt.Sprintf("step %d of %d: skipped: %s", e.Step+1, e.Steps, why))
		return
	}
	j.curve.Loss = append(j.curve.Loss, train.Point{Step: e.Step, Loss: float64(e.Record.Loss)})
	if v.bars != nil {
		v.show(j, e)
		return
	}
	if every := max(1, e.Steps/20); e.Step%every == 0 || e.Step+1 == e.Steps {
		r := e.Record
		v.line(j, fmt.Sprintf("step %d of %d: loss %.4f, %.0f tokens/s", e.Step+1, e.Steps, float64(r.Loss), r.TokensPerSecond))
	}
}

func (v *trainView) show(j *jobView, e train.Event) {
	status := fmt.Sprintf(" loss %.4f  %.0f tok/s  left ", float64(e.Record.Loss), e.Record.TokensPerSecond)
	j.status.Store(&status)
	if j.bar == nil {
		j.bar = v.bars.AddBar(int64(e.Steps), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(filepath.Base(j.out)+" "), decor.CountersNoUnit("%d/%d")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *j.status.Load() }), decor.AverageETA(decor.ET_STYLE_GO)))
		j.bar.SetCurrent(int64(e.Step))
		j.bar.DecoratorAverageAdjust(time.Now())
	}
	j.bar.SetCurrent(int64(e.Step + 1))
}

func (v *trainView) ended(j *jobView, e train.Event) {
	if j.bar != nil {
		j.bar.Abort(true)
	}
	if e.Err != nil {
		return // it is the command's error
	}
	took := time.Since(j.begun).Seconds()
	text := fmt.Sprintf("%s: %d of %d steps", j.out, e.Step, e.Steps)
	if j.tokens > 0 {
		text += fmt.Sprintf(", loss %.4f to %.4f, %d tokens in %.1f s, %.0f tokens/s", j.first, float64(j.last.Loss), j.tokens, took, float64(j.tokens)/took)
	}
	if n := len(j.curve.Eval); n > 0 {
		text += fmt.Sprintf(", evaluation loss %.4f", j.curve.Eval[n-1].Loss)
	}
	if v.bars != nil {
		j.summary = text // until the bars are gone
		return
	}
	_, err := fmt.Fprintln(v.out, text)
	v.note(err)
}

// detached tells that a job's file has been written.
func (v *trainView) detached(i int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	j := v.jobs[i]
	v.line(j, fmt.Sprintf("written to %s: go on elsewhere by loquetier job unpack", j.detach))
}

// line prints a line of progress above the bars.
func (v *trainView) line(j *jobView, text string) {
	to := v.err
	if v.bars != nil {
		to = v.bars
	}
	if len(v.jobs) > 1 {
		text = j.name + ": " + text
	}
	_, err := fmt.Fprintln(to, text)
	v.note(err)
}

func (v *trainView) note(err error) {
	if v.fail == nil {
		v.fail = err
	}
}

// wait takes the bars away and, on a terminal, draws the curves.
func (v *trainView) wait() error {
	if v.bars != nil {
		for _, j := range v.jobs {
			if j.bar != nil {
				j.bar.Abort(true)
			}
		}
		v.bars.Wait()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, j := range v.jobs {
		if j.summary != "" {
			_, err := fmt.Fprintln(v.out, j.summary)
			v.note(err)
		}
		if isTerminal(v.out) && len(j.curve.Loss) > 1 {
			_, err := fmt.Fprintln(v.out, j.curve.Text(72, 12))
			v.note(err)
		}
	}
	return v.fail
}
