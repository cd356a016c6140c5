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
	Slot() int // where it is
	// Snapshot keeps what it is between two steps, in the goroutine that runs them. read,
	// which is called once, from another one, gives the weights, in float32, and all that
	// the next updates depend on, opaque.
	Snapshot() (read func() (*virtualmod.Adapter, []byte, error), err error)
	Restore(state []byte) error // puts back what read gave
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
	Events       func(Event)                                   // called one after the other, mostly from the job's goroutine; must not block for long; nil: nobody listens
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
// goroutine, between steps, but for Stop, Detach, Done, Ended and Err, which are for any.
//
// An optimizer step is so many sequences; they ride in as few engine steps as
// they fit into, and the update with the last of them. Evaluations ride too, and
// nothing is trained before one is complete.
//
// Checkpoints are written beside all that. A job that is due to save while the one before
// is still being written does so when that is over. One that has no more work is done, and
// has ended once its last checkpoint is written.
type Job struct {
	config Config
	steps  int // of the whole run
	until  int // steps after which this run ends
	order  *Order
	data   dataMark
	log    *runLog
	folder folder // for the goroutine of a save, once the job runs

	at         progress
	saves      []*save  // that have not been settled, in their order
	saved      progress // of the last of them, or of those before
	everSaved  bool
	owes       bool        // a checkpoint: it was due while another was written
	written    *int        // step of the checkpoint that counts, nil: there is none; for the goroutine of a save
	evaluation *evaluation // nil: none has begun
	offered    pack
	update     bool // with the last offer
	begun      time.Time
	computed   int // tokens since begun

	mu          sync.Mutex // guards what follows
	detachments []detachment
	done        bool

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

// Ended is closed when the job has ended: nothing of it is under way any more.
func (j *Job) Ended() <-chan struct{} { return j.ended }

// Err is why the job failed, once it has ended; nil where it has not.
func (j *Job) Err() error {
	select {
	case <-j.ended:
		return j.err
	default:
		return nil
	}
}

// Done tells that there will be no more work. The last checkpoint may still be on its way.
func (j *Job) Done() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done
}

// Fail ends the job with an error. The checkpoints there are stay.
func (j *Job) Fail(err error) {
	if !j.Done() {
		j.end(err)
	}
}

// finish saves and ends.
func (j *Job) finish() {
	j.save(true)
	j.end(nil)
}

// end lets the job offer no more work. It ends when what it saves is written.
func (j *Job) end(err error) {
	j.mu.Lock()
	j.done = true
	refused := j.detachments
	j.detachments = nil
	j.mu.Unlock()
	for _, d := range refused {
		d.done <- j.hasEnded()
	}
	if len(j.saves) == 0 {
		j.close(err)
	} else {
		go j.close(err)
	}
}

// close waits for the saves, closes what is open and tells that the job has ended.
func (j *Job) close(err error) {
	for _, s := range j.saves {
		<-s.done
	}
	j.err = errors.Join(err, j.settle(), j.log.close())
	j.tell(Event{Kind: Ended, Step: j.at.Step, Err: j.err})
	close(j.ended) // the last event has been taken when others see the end
}

func (j *Job) tell(e Event) {
	if e.Steps = j.steps; j.config.Events != nil {
		j.config.Events(e)
	}
}
