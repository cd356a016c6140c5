package engine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
)

// training keeps steps of a job and of requests going while something else is done.
type training struct {
	*flights
	job *job
}

func trainingBeside(t *testing.T, dtype string) *training {
	t.Helper()
	config := trainConfig()
	config.DType = dtype
	b := openTiny(t, "llama", config)
	j := b.train(readRecipe(t, "llama", recipes[1]))
	for range 2 {
		b.trainStep([]*job{j})
		j.step++
	}
	other := b.prompt("all-r16", 1)
	r := &training{&flights{bench: b, step: &batch.Step{Spans: []batch.Span{other}}, want: b.run(other)}, j}
	r.next()
	r.next()
	r.train() // all that steps take is there
	b.next = 0
	b.run(j.spans(0)...) // an accumulation begins
	return r
}

// train runs a step of the job, beside which nothing is in flight.
func (r *training) train() {
	r.land()
	r.bench.next = 0
	_, err := r.engine.Run(&batch.Step{Spans: r.job.spans(1), Backward: batch.All, Updates: []batch.Update{r.job.update()}})
	require.NoError(r.t, err)
	r.job.step = (r.job.step + 1) % len(r.job.Log)
}

// What is set aside is what the slot held at that moment, however it is trained on while it
// is read.
func TestASnapshotIsOfOneMoment(t *testing.T) {
	for dtype, most := range map[string]uint64{"f32": 0, "bf16": 6004} { // 0: in place
		r := trainingBeside(t, dtype)
		slot, used := r.job.trainee.Slot(), r.engine.Used()
		state, err := r.engine.TrainingState(slot)
		require.NoError(t, err)
		served, err := r.engine.Save(slot)
		require.NoError(t, err)
		for what, set := range []func(slot int) (*engine.Download, error){r.engine.SnapshotTraining, r.engine.SnapshotAdapter} {
			d, err := set(slot)
			require.NoError(t, err)
			if most > 0 {
				require.NoError(t, d.Staged(most))
			}
			for i, more := 0, true; more; i++ {
				if r.next(); i == 1 {
					r.train()
				}
				more, err = d.Send()
				require.NoError(t, err)
				d.Take()
			}
			r.land()
			d.Close()
			require.Equal(t, used, r.engine.Used())
			if what == 0 {
				require.Equal(t, state.Data, d.State().Data, dtype)
				require.Equal(t, state.Weights(), d.State().Weights(), dtype)
				require.NoError(t, r.engine.RestoreTraining(slot, state.Data))
			} else {
				require.Equal(t, served, d.Image(), dtype)
			}
		}
	}
}

// A training state is put back in pieces between the steps of others, and the next
// losses are those that it had.
func TestATrainingStateComesInPieces(t *testing.T) {
	for dtype, most := range map[string]uint64{"f32": 0, "f16": 6004} {
		r := trainingBeside(t, dtype)
		slot := r.job.trainee.Slot()
		before, err := r.engine.TrainingState(slot)
		require.NoError(t, err)
		from := r.job.step
		r.train()
		after, err := r.engine.TrainingState(slot)
		require.NoError(t, err)
		require.NotEqual(t, before.Data, after.Data)

		back, err := r.engine.BeginRestore(slot, before.Data)
		require.NoError(t, err)
		if most > 0 {
			require.NoError(t, back.Staged(most))
		}
		pieces := 0
		for more := true; more; pieces++ {
			require.NoError(t, back.Fill())
			r.next()
			more, err = back.Send()
			require.NoError(t, err)
		}
		require.Greater(t, pieces, 1)
		require.NoError(t, back.Finish())
		r.job.step = from
		r.train()
		again, err := r.engine.TrainingState(slot)
		require.NoError(t, err)
		require.Equal(t, after.Data, again.Data, dtype)

		_, err = r.engine.BeginRestore(slot, before.Data[4:])
		require.ErrorContains(t, err, "restore training: the state has")
	}
}
