package train

// EventKind is what an Event tells.
type EventKind int

// The kinds of events.
const (
	StepDone    EventKind = iota // an optimizer step is done; Record
	StepSkipped                  // its loss or gradient was not finite, or it had no targets: the weights stay; Record
	Evaluated                    // Loss
	Saved                        // a checkpoint is complete; Path
	Ended                        // the last event; Err is nil where the job did what it was to do, or was stopped
)

// Event tells what a job has done. Fields that its kind does not name are zero.
type Event struct {
	Kind   EventKind
	Step   int // of the record, or steps done so far
	Steps  int // of the whole run
	Record StepRecord
	Loss   float64
	Path   string
	Err    error
}

// Complete tells whether the job has ended with all of its steps done.
func (e Event) Complete() bool { return e.Kind == Ended && e.Err == nil && e.Step == e.Steps }
