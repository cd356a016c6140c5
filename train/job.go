package train

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"loquetier/engine/batch"
	"loquetier/virtualmod"
)

// Trainee is what a job needs of the device: an adapter that is being trained.
type Trainee interface {
	Slot() int                             // where it is
	Adapter() (*virtualmod.Adapter, error) // the weights now, in float32
	State() ([]byte, error)                // all that its next updates depend on, opaque
	Restore(state []byte) error            // puts back what State gave
}

// Config is a job: what is trained on what, and where it goes.
type Config struct {
	Settings Settings
	Data     *Dataset
	Eval     *Dataset // nil: no evaluation
	Out      string   // folder; made where it is not there

	Resume    bool // go on from the folder's checkpoint
	Overwrite bool // remove what an earlier job left in the folder

	Base    string // what tells the base model apart from others: a resumed job must have the same
	Context int    // most tokens of a sequence
	Rows    int    // most rows of training in a step
	Blocks  int    // cache blocks

	Trainee      Trainee
	WriteAdapter func(a *virtualmod.Adapter, dir string) error // writes a PEFT folder's files into a folder
	Events       func(Event)                                   // called from the job's goroutine; must not block for long; nil: nobody listens
	Log          io.Writer                                     // also gets the log's lines; nil: nobody does

	disk disk             // nil: the real one
	now  func() time.Time // nil: the real one
}

// maxSkipped is the number of steps in a row without a finite loss or gradient
// that ends a job: the weights do not change, so more will not come.
const maxSkipped = 5

// progress is how far a job is. With the trainee's state, all its next steps
// depend on it.
type progress struct {
	Step      int   `json:"step"`      // optimizer steps done
	Updates   int   `json:"updates"`   // those of them that changed the weights
	Cursor    int   `json:"cursor"`    // position of the next sequence in the order
	Pending   tally `json:"pending"`   // of the optimizer step that has begun
	Skipped   int   `json:"skipped"`   // steps skipped in a row
	Evaluated int   `json:"evaluated"` // step of the last evaluation; -1: there was none
}

// Job fine-tunes one adapter in steps that others run. Its methods are for one
// goroutine, between steps, but for Stop, DetachSoon, Ended and Err, which are for any.
//
// An optimizer step is so many sequences; they ride in as few engine steps as
// they fit into, and the update with the last of them. Evaluations ride too, and
// nothing is trained before one is complete.
type Job struct {
	config Config
	steps  int // of the whole run
	until  int // steps after which this run ends
	order  *Order
	data   dataMark
	log    *runLog
	folder folder

	at         progress
	saved      progress // in the last checkpoint
	everSaved  bool
	evaluation *evaluation // nil: none has begun
	offered    pack
	update     bool // with the last offer
	begun      time.Time
	computed   int // tokens since begun

	mu          sync.Mutex // guards what follows
	detachments []detachment

	stopping atomic.Bool
	ended    chan struct{}
	err      error // valid once ended is closed
}

// evaluation is one that has begun.
type evaluation struct {
	next int // sequence
	tally
}

// NewJob checks all there is to check, prepares the folder and, to resume,
// restores the trainee. The job owns the folder until it has ended.
func NewJob(c Config) (*Job, error) {
	j, err := newJob(c)
	if err != nil {
		return nil, err
	}
	if c.Resume {
		err = j.resume()
	} else {
		err = j.begin()
	}
	if err != nil {
		return nil, err
	}
	return j, nil
}

// Check refuses what NewJob would refuse, as far as it can be told without the
// device; it changes nothing. Trainee may be nil, Base empty.
func Check(c Config) error {
	j, err := newJob(c)
	if err != nil {
		return err
	}
	if !c.Resume {
		return j.folder.vacant(c.Overwrite)
	}
	saved, err := j.folder.read()
	if err == nil {
		err = j.fits(saved)
	}
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	return nil
}

// newJob checks what concerns neither the folder nor the device.
func newJob(c Config) (*Job, error) {
	if err := c.Settings.Check(); err != nil {
		return nil, err
	}
	if c.Resume && c.Overwrite {
		return nil, errors.New("--resume and --overwrite exclude each other")
	}
	most := limits{c.Context, c.Rows, c.Blocks}
	var err error
	if c.Data, err = c.Data.fit(most, batch.BlockSize, c.Settings.Truncate); err != nil {
		return nil, err
	}
	if c.Eval != nil {
		if c.Eval, err = c.Eval.fit(most, batch.BlockSize, c.Settings.Truncate); err != nil {
			return nil, err
		}
	}
	if c.disk == nil {
		c.disk = osDisk{}
	}
	if c.now == nil {
		c.now = time.Now
	}
	j := &Job{config: c, folder: folder{dir: c.Out, disk: c.disk}, at: progress{Evaluated: -1}, ended: make(chan struct{})}
	if j.steps, err = c.Settings.steps(len(c.Data.Examples)); err != nil {
		return nil, err
	}
	if j.until = j.steps; c.Settings.StopAfter > 0 {
		j.until = min(j.steps, c.Settings.StopAfter)
	}
	j.data = c.Data.mark()
	j.order = NewOrder(len(c.Data.Examples), !c.Settings.NoShuffle, c.Settings.Seed)
	return j, nil
}

// Steps is the number of optimizer steps of the whole run.
func (j *Job) Steps() int { return j.steps }

// Curve is the losses so far, those before a resume included. It may be called
// where Events are, and from anywhere once the job has ended.
func (j *Job) Curve() Curve { return j.log.curve }

// Stop asks the job to save and end before the next step. It can be resumed.
func (j *Job) Stop() { j.stopping.Store(true) }

// Ended is closed when the job has ended.
func (j *Job) Ended() <-chan struct{} { return j.ended }

// Err is why the job failed; nil where it has not.
func (j *Job) Err() error {
	if !j.Done() {
		return nil
	}
	return j.err
}

// Done tells that there will be no more work.
func (j *Job) Done() bool {
	select {
	case <-j.ended:
		return true
	default:
		return false
	}
}

// Fail ends the job with an error. The checkpoints there are stay.
func (j *Job) Fail(err error) {
	if !j.Done() {
		j.end(err)
	}
}

// end closes what is open and tells that the job has ended.
func (j *Job) end(err error) {
	j.err = errors.Join(err, j.log.close())
	j.tell(Event{Kind: Ended, Step: j.at.Step, Err: j.err})
	j.mu.Lock()
	close(j.ended) // the last event has been taken when others see the end
	j.mu.Unlock()
	j.detachAll()
}

func (j *Job) tell(e Event) {
	if e.Steps = j.steps; j.config.Events != nil {
		j.config.Events(e)
	}
}

// finish saves and ends.
func (j *Job) finish() { j.end(j.save()) }
