package engine

import (
	"time"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// StepStats describes the last step, for benchmarks.
type StepStats struct {
	vk.Stats
	Record time.Duration // host time to check, arrange and record
	Device time.Duration // submission to completion
}

// Stats of the last step.
func (e *Engine) Stats() StepStats { return e.stats }

// Run executes a step: one upload, one submission, one wait. The step is
// checked first; an error leaves the cache rows of the step undefined and
// everything else as it was.
//
// A step with so much arithmetic that drivers might take it for a hang (they
// give a submission two to ten seconds) is cut into several submissions.
func (e *Engine) Run(step *batch.Step) (*batch.Result, error) {
	if err := e.check(step); err != nil {
		return nil, err
	}
	e.stats, e.since = StepStats{}, time.Now()
	e.recorder.Reset()
	l, err := e.record(e.recorder, step)
	if err == nil {
		err = e.submit(e.recorder)
	}
	if err != nil {
		return nil, err
	}
	return e.results(step, l), nil
}

// submit runs what is recorded and waits for it.
func (e *Engine) submit(rec *vk.Recorder) error {
	recorded := time.Now()
	if err := rec.Run(); err != nil {
		return err
	}
	s := &e.stats
	s.Record, s.Device = s.Record+recorded.Sub(e.since), s.Device+time.Since(recorded)
	s.Dispatches += rec.Stats().Dispatches
	s.Barriers += rec.Stats().Barriers
	s.Copies += rec.Stats().Copies
	if e.profile != nil {
		if err := e.profile.add(rec); err != nil {
			return err
		}
	}
	rec.Reset()
	e.since = time.Now()
	return nil
}

// breathe submits what is recorded where it is enough for one submission.
func (e *Engine) breathe(rec *vk.Recorder) error {
	if rec.Flops() < e.config.Submission {
		return nil
	}
	return e.submit(rec)
}

// record records a step: what it looks up, forward, backward, updates.
func (e *Engine) record(rec *vk.Recorder, step *batch.Step) (*layout, error) {
	l := e.arrange(step)
	updates, err := e.arrangeUpdates(step.Updates)
	if err != nil {
		return nil, err
	}
	if err := e.upload(rec); err != nil {
		return nil, err
	}
	for _, part := range []func(*vk.Recorder, *layout) error{e.forward, e.sample, e.backward} {
		if l.rows == 0 {
			break
		}
		if err := part(rec, &l); err != nil {
			return nil, err
		}
	}
	return &l, e.optimize(rec, updates, step.Updates)
}
