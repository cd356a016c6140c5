package engine

import (
	"errors"
	"time"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// StepStats describes a step, for benchmarks.
type StepStats struct {
	vk.Stats
	Record time.Duration // host time to check, arrange, record and submit
	Device time.Duration // from its submission, or the end of the step before, to its own end
}

// Stats of the step that was waited for last.
func (e *Engine) Stats() StepStats { return e.stats }

// Run executes a step: Start, then Wait. No other step may be in flight.
func (e *Engine) Run(step *batch.Step) (*batch.Result, error) {
	if e.frames.flying > 0 {
		return nil, errors.New("BUG: run a step while others are in flight")
	}
	if err := e.Start(step); err != nil {
		return nil, err
	}
	return e.Wait()
}

// Start begins a step, which runs behind those begun before, and returns
// without waiting for it: one upload, one submission. At most Depth steps may be
// in flight. The step is checked first; an error leaves the cache rows of the step
// undefined and everything else as it was. The step must not change until its Wait,
// and adapters come and go only while none is in flight.
//
// A step with so much arithmetic that drivers might take it for a hang (they
// give a submission two to ten seconds) is cut into several submissions.
func (e *Engine) Start(step *batch.Step) error {
	if e.frames.flying == Depth {
		return errors.New("BUG: start a step while others fill the device's queue")
	}
	if err := e.check(step); err != nil {
		return err
	}
	f := e.frames.next()
	f.begin(step)
	e.frame = f
	if err := e.launch(f); err != nil {
		return errors.Join(err, e.frames.settle())
	}
	e.advance(f)
	f.stats.Record += time.Since(f.began)
	e.frames.flying++
	return nil
}

// Wait returns the result of the oldest step in flight once it has run.
func (e *Engine) Wait() (*batch.Result, error) {
	if e.frames.flying == 0 {
		return nil, errors.New("BUG: wait for a step, but none is in flight")
	}
	f := e.frames.pop()
	if err := f.last.Wait(); err != nil {
		return nil, err
	}
	from := f.submitted
	if e.ended.After(from) {
		from = e.ended
	}
	e.ended = time.Now()
	f.stats.Device = e.ended.Sub(from)
	e.stats = f.stats
	return e.results(f), nil
}

// launch submits the step of a frame: what was recorded for a step of its
// shape, where there is such a thing. In checking mode it is recorded all the same,
// and must come out equal.
func (e *Engine) launch(f *frame) error {
	updates, err := e.prepare(f)
	if err != nil {
		return err
	}
	known := e.known(f)
	if known != nil && !vk.Checking() {
		return e.replay(f, known)
	}
	f.recording, f.checks = known, known != nil
	if known == nil {
		f.recording = e.recordings.take()
	}
	e.recorder.Reset()
	if err := e.record(e.recorder, f, updates); err != nil {
		return err
	}
	if err := e.submit(f); err != nil {
		return err
	}
	f.stats.Stats = f.recording.stats
	if e.reusable(f) {
		f.recording.frame, f.recording.shapes = f, f.layout.shapes()
	}
	return nil
}

// prepare arranges the step's input and writes it where the device can read it.
func (e *Engine) prepare(f *frame) (updates entry, err error) {
	e.arrange(f)
	e.slice(f)
	if updates, err = e.arrangeUpdates(f.step.Updates); err != nil {
		return entry{}, err
	}
	return updates, e.stage(f)
}

// known is the recording of an earlier step of the same shape, nil where there
// is none.
func (e *Engine) known(f *frame) *recording {
	if !e.reusable(f) {
		return nil
	}
	return e.recordings.find(f, f.layout.shapes())
}

// reusable tells whether the step's commands depend on its shape alone. Steps
// that train take so much longer than their recording that it does not matter.
func (e *Engine) reusable(f *frame) bool {
	l := &f.layout
	return l.rows > 0 && l.train == nil && f.slices == 0 && l.keeps == 0 && len(f.step.Updates) == 0 && e.profile == nil
}

// replay runs a recording.
func (e *Engine) replay(f *frame, r *recording) error {
	for _, c := range r.buffers[:r.pieces] {
		if err := f.run(c); err != nil {
			return err
		}
	}
	f.stats.Stats = r.stats
	return nil
}

// submit runs what is recorded, as the next piece of the frame's recording.
func (e *Engine) submit(f *frame) error {
	next := f.recording.add
	if f.checks {
		next = f.recording.check
	}
	c, err := next(f.pieces, e.recorder)
	if err != nil {
		return err
	}
	if err := f.run(c); err != nil || e.profile == nil {
		return err
	}
	return e.stamp(f)
}

// stamp waits for what was submitted and adds its kernels' times to the
// profile: the timestamps are one submission's.
func (e *Engine) stamp(f *frame) error {
	from := time.Now()
	if err := f.last.Wait(); err != nil {
		return err
	}
	f.stats.Record -= time.Since(from)
	return e.profile.add(e.recorder)
}

// breathe submits what is recorded where it is enough for one submission.
func (e *Engine) breathe(rec *vk.Recorder) error {
	if rec.Flops() < e.config.Submission {
		return nil
	}
	if err := e.submit(e.frame); err != nil {
		return err
	}
	rec.Reset()
	return nil
}

// record records a step: what it looks up, forward, backward, updates.
func (e *Engine) record(rec *vk.Recorder, f *frame, updates entry) error {
	e.upload(rec)
	l := &f.layout
	for _, part := range []func(*vk.Recorder, *layout) error{e.forward, e.sample, e.loss} {
		if l.rows == 0 {
			break
		}
		if err := part(rec, l); err != nil {
			return err
		}
	}
	if err := e.backward(rec, f); err != nil {
		return err
	}
	return e.optimize(rec, updates, f.step.Updates)
}
