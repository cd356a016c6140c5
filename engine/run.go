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
func (e *Engine) Run(step *batch.Step) (*batch.Result, error) {
	if err := e.check(step); err != nil {
		return nil, err
	}
	start := time.Now()
	rec := e.recorder
	rec.Reset()
	l, err := e.record(rec, step)
	if err != nil {
		return nil, err
	}
	recorded := time.Now()
	if err := rec.Run(); err != nil {
		return nil, err
	}
	e.stats = StepStats{Stats: rec.Stats(), Record: recorded.Sub(start), Device: time.Since(recorded)}
	if e.profile != nil {
		if err := e.profile.add(rec); err != nil {
			return nil, err
		}
	}
	return e.results(step, l), nil
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
	if l.rows > 0 {
		err = firstError(e.forward(rec, &l), e.sample(rec, &l), e.backward(rec, &l))
	}
	return &l, firstError(err, e.optimize(rec, updates, step.Updates))
}
