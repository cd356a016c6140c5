package engine

import (
	"time"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// Depth is the number of steps that may have been started and not waited for:
// one runs while the next is prepared and the one before is read.
const Depth = 2

// frame is what a step in flight has to itself, so that the host never writes
// what the device reads nor reads what it writes. All else, the activations above
// all, is shared: the device takes one step after the other.
type frame struct {
	tables tables
	ids    vk.Buffer // sampled tokens, mapped; grown, as all that follow
	logs   vk.Buffer // their log-probabilities, mapped
	kept   vk.Buffer // raw logits that were asked for, mapped
	losses vk.Buffer // the training targets' log-probabilities, mapped
	norms  vk.Buffer // the gradients' norms, mapped

	step      *batch.Step
	pass      *training // whose backward pass the step goes on with; nil where none is pending
	slices    int       // of it that the step runs
	layout    layout
	recording *recording
	checks    bool         // the recording is compared with, not made: in checking mode
	last      *vk.Commands // of the step's last submission
	pieces    int          // submissions so far
	stats     StepStats
	began     time.Time // to be prepared
	submitted time.Time // its first piece
}

// begin makes the frame that of a step.
func (f *frame) begin(step *batch.Step) {
	f.step, f.pass, f.slices, f.pieces, f.stats, f.began = step, nil, 0, 0, StepStats{}, time.Now()
}

// run submits the step's next piece.
func (f *frame) run(c *vk.Commands) error {
	if f.pieces == 0 {
		f.submitted = time.Now()
	}
	f.pieces++
	f.last = c
	return c.Submit()
}

func (f *frame) free(device *vk.Device) {
	f.tables.free(device)
	for _, b := range []vk.Buffer{f.ids, f.logs, f.kept, f.losses, f.norms} {
		device.Free(b)
	}
}

// frames are those of the steps in flight.
type frames struct {
	ring   [Depth]frame
	first  int // the oldest step in flight
	flying int // steps in flight
}

// next is the frame of the next step to start.
func (f *frames) next() *frame { return &f.ring[(f.first+f.flying)%Depth] }

// before is the frame of the step before that of another frame, where the two
// overlap.
func (f *frames) before(later *frame) *frame {
	i := 0
	for &f.ring[i] != later {
		i++
	}
	return &f.ring[(i+Depth-1)%Depth]
}

// pop takes the oldest step out of flight. Where none is left the next one
// takes the first frame: steps that do not overlap need no second set of buffers.
func (f *frames) pop() *frame {
	oldest := &f.ring[f.first]
	f.first, f.flying = (f.first+1)%Depth, f.flying-1
	if f.flying == 0 {
		f.first = 0
	}
	return oldest
}

// settle waits for all that was submitted. The steps remain in flight: their
// results are still to be read.
func (f *frames) settle() error {
	for i := range f.ring {
		if last := f.ring[i].last; last != nil {
			if err := last.Wait(); err != nil {
				return err
			}
		}
	}
	return nil
}
