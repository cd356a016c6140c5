package engine

import (
	"fmt"
	"slices"

	"loquetier/engine/batch"
)

// Slices is the number of slices of a backward pass: the model's layers, from the
// last one down. Those that no job adapts count, and cost nothing.
func (e *Engine) Slices() int { return e.checkpointConfig.Layers }

// trains tells whether a pending backward pass adds to the gradient of a slot.
func (t *training) trains(slot int) bool {
	return t != nil && slices.Contains(t.slots, int32(slot))
}

// slicesOf is the number of slices that a step would run.
func (e *Engine) slicesOf(step *batch.Step) int {
	left := 0
	switch {
	case e.pending != nil:
		left = e.pending.left
	case trains(step):
		left = e.Slices()
	}
	return min(step.Backward, left)
}

// trains tells whether a step has training rows, which come first.
func trains(step *batch.Step) bool {
	return len(step.Spans) > 0 && step.Spans[0].Kind == batch.Train
}

// slice decides what a frame's step runs of a backward pass.
func (e *Engine) slice(f *frame) {
	f.slices, f.pass = e.slicesOf(f.step), e.pending
	if f.pass == nil {
		f.pass = f.layout.train
	}
}

// advance notes that the slices of a frame's step have been started.
func (e *Engine) advance(f *frame) {
	e.pending = f.pass
	if f.pass == nil {
		return
	}
	if f.pass.left -= f.slices; f.pass.left == 0 {
		e.pending = nil
	}
}

// checkBackward validates what a step says of a backward pass: one at a time, and
// no update of its slots before it is over.
func (e *Engine) checkBackward(step *batch.Step) error {
	if step.Backward < 0 {
		return fmt.Errorf("%d slices of a backward pass", step.Backward)
	}
	slot := func(u batch.Update) bool { return e.pending.trains(u.Slot) }
	left := e.Slices()
	if e.pending != nil {
		left = e.pending.left
		if trains(step) {
			return fmt.Errorf("training rows, while %d slices of the backward pass before are left", left)
		}
	} else {
		slot = func(u batch.Update) bool {
			return slices.ContainsFunc(step.Spans, func(s batch.Span) bool { return s.Kind == batch.Train && s.Slot == u.Slot })
		}
	}
	left -= e.slicesOf(step)
	if i := slices.IndexFunc(step.Updates, slot); i >= 0 && left > 0 {
		return fmt.Errorf("update of slot %d: %d slices of its backward pass would be left", step.Updates[i].Slot, left)
	}
	return nil
}
