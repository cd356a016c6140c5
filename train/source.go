package train

import (
	"errors"
	"fmt"
	"math"
	"time"

	"loquetier/engine/batch"
)

// Next offers work of at most rows rows and blocks cache blocks, which the
// spans do not have yet: those of an evaluation that is due, else the next
// sequences of the optimizer step, with its update after the last one. It offers
// nothing where the next sequence does not fit or the job has ended. What it
// offers is to be answered by Commit or Fail.
func (j *Job) Next(rows, blocks int) ([]batch.Span, []batch.Update) {
	j.keepUp()
	for !j.Done() {
		if j.stopping.Load() {
			j.finish()
			break
		}
		if j.mustEvaluate() {
			return j.offerEvaluation(rows, blocks), nil
		}
		if j.at.Step >= j.until {
			j.finish()
			break
		}
		spans, updates := j.offerTraining(rows, blocks)
		if len(spans) > 0 || j.offered.until < j.lastCursor() {
			return spans, updates
		}
		j.skipEmptyStep()
	}
	return nil, nil
}

// keepUp sees to what has come of checkpoints and to what was asked for meanwhile.
func (j *Job) keepUp() {
	if j.Done() {
		return
	}
	if err := j.settle(); err != nil {
		j.end(err)
		return
	}
	if j.owes && len(j.saves) == 0 {
		j.owes = false
		j.save(true)
	}
	j.detachAll()
}

// lastCursor is the position after the optimizer step's last sequence.
func (j *Job) lastCursor() int { return (j.at.Step + 1) * j.config.Settings.batch() }

// mustEvaluate tells whether an evaluation comes before more training: at the
// beginning, after every so many steps, and at the end of the whole run.
func (j *Job) mustEvaluate() bool {
	if j.config.Eval == nil || j.at.Evaluated == j.at.Step || j.at.Cursor != j.at.Step*j.config.Settings.batch() {
		return false
	}
	every := j.config.Settings.EvalEvery
	return j.at.Step == 0 || j.at.Step == j.steps || every > 0 && j.at.Step%every == 0
}

func (j *Job) offerEvaluation(rows, blocks int) []batch.Span {
	if j.evaluation == nil {
		j.evaluation = &evaluation{}
	}
	at := func(i int) Example { return j.config.Eval.Examples[i] }
	j.offered = packed(batch.Eval, j.config.Trainee.Slot(), at, j.evaluation.next, len(j.config.Eval.Examples), rows, blocks)
	return j.offered.spans
}

func (j *Job) offerTraining(rows, blocks int) ([]batch.Span, []batch.Update) {
	if j.begun.IsZero() {
		j.begun, j.computed = j.config.now(), 0
	}
	at := func(position int) Example { return j.config.Data.Examples[j.order.At(position)] }
	j.offered = packed(batch.Train, j.config.Trainee.Slot(), at, j.at.Cursor, j.lastCursor(), rows, blocks)
	if j.update = len(j.offered.spans) > 0 && j.offered.until == j.lastCursor(); !j.update {
		return j.offered.spans, nil
	}
	u := j.config.Settings.update(j.offered.slot, j.at.Step, j.steps)
	u.Step, u.Targets = j.at.Updates+1, j.at.Pending.Targets+j.offered.total.Targets
	return j.offered.spans, []batch.Update{u}
}

// Commit takes the picks of the last offer's spans and the norms of its
// updates.
func (j *Job) Commit(picks [][]batch.Pick, norms []float64) {
	if j.Done() {
		return
	}
	if !j.offered.fits(picks) || len(norms) != j.updates() {
		j.Fail(errors.New("BUG: the results of a step do not fit what was offered"))
		return
	}
	if err := j.commit(picks, norms); err != nil {
		j.Fail(err)
	}
}

// updates is the number of updates in the last offer.
func (j *Job) updates() int {
	if j.offered.kind == batch.Train && j.update {
		return 1
	}
	return 0
}

func (j *Job) commit(picks [][]batch.Pick, norms []float64) error {
	if j.offered.kind == batch.Eval {
		return j.commitEvaluation(picks)
	}
	j.at.Cursor = j.offered.until
	j.at.Pending.score(j.offered, picks)
	j.computed += j.offered.total.Tokens
	if len(norms) == 0 {
		return nil
	}
	return j.stepped(norms[0])
}

func (j *Job) commitEvaluation(picks [][]batch.Pick) error {
	e := j.evaluation
	e.next = j.offered.until
	e.score(j.offered, picks)
	if e.next < len(j.config.Eval.Examples) {
		return nil
	}
	j.at.Evaluated, j.evaluation = j.at.Step, nil
	if err := j.log.add(EvalRecord{Step: j.at.Step, EvalLoss: e.mean()}); err != nil {
		return err
	}
	j.tell(Event{Kind: Evaluated, Step: j.at.Step, Loss: float64(e.mean())})
	return nil
}

// stepped ends an optimizer step whose gradient had that norm.
func (j *Job) stepped(norm float64) error {
	loss, updated := j.at.Pending.mean(), Number(norm).finite()
	if updated {
		j.at.Updates++ // the device left it out otherwise
	}
	if j.at.Skipped++; updated && loss.finite() {
		j.at.Skipped = 0
	}
	if err := j.note(loss, Number(norm), !updated); err != nil {
		return err
	}
	if j.at.Skipped >= maxSkipped {
		return fmt.Errorf("step %d: the loss or its gradient was not finite in %d steps in a row: lower --lr, or look at the data", j.at.Step-1, j.at.Skipped)
	}
	return j.saveIfDue()
}

// saveIfDue saves after every so many steps; the end of the run has a
// checkpoint of its own.
func (j *Job) saveIfDue() error {
	if every := j.config.Settings.SaveEvery; every == 0 || j.at.Step%every != 0 || j.at.Step >= j.until {
		return nil
	}
	err := j.settle()
	if j.owes = len(j.saves) > 0; !j.owes {
		j.save(true)
	}
	return err
}

// skipEmptyStep ends an optimizer step without any target: there is no loss.
func (j *Job) skipEmptyStep() {
	j.at.Cursor = j.lastCursor()
	none := Number(math.NaN())
	err := j.note(none, none, true)
	if err == nil {
		err = j.saveIfDue()
	}
	if err != nil {
		j.Fail(err)
	}
}

// note writes an optimizer step to the log and goes on to the next.
func (j *Job) note(loss, norm Number, skipped bool) error {
	r := StepRecord{
		Step: j.at.Step, Loss: loss, GradNorm: norm, LR: j.config.Settings.update(0, j.at.Step, j.steps).LR,
		Targets: j.at.Pending.Targets, Tokens: j.at.Pending.Tokens, Skipped: skipped,
	}
	if took := j.config.now().Sub(j.begun).Seconds(); took > 0 {
		r.TokensPerSecond = float64(j.computed) / took
	}
	j.begun, j.at.Pending = time.Time{}, tally{}
	j.at.Step++
	if err := j.log.add(r); err != nil {
		return err
	}
	kind := StepDone
	if skipped {
		kind = StepSkipped
	}
	j.tell(Event{Kind: kind, Step: r.Step, Record: r})
	return nil
}
