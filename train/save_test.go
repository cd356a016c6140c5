package train

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/virtualmod"
)

// slow is a trainee whose snapshots are read when the test lets them.
type slow struct {
	*sim
	gate  chan error // what becomes of the next read
	taken int
}

func (s *slow) Snapshot() (func() (*virtualmod.Adapter, []byte, error), error) {
	s.taken++
	read, err := s.sim.Snapshot()
	return func() (*virtualmod.Adapter, []byte, error) {
		if err := <-s.gate; err != nil {
			return nil, nil, err
		}
		return read()
	}, err
}

// slowJob is a job that saves after each second step, to be driven by hand.
func slowJob(t *testing.T) (Config, *slow, *Job, func()) {
	t.Helper()
	c, d := config(t)
	s := &slow{sim: d[4], gate: make(chan error)}
	c.Trainee = s
	j := newTestJob(t, c)
	return c, s, j, func() {
		spans, updates := j.Next(c.Rows, c.Blocks)
		d.answer(t, j, spans, updates, c.Rows, c.Blocks)
	}
}

// A job goes on while its checkpoint is written. What is written is of the moment at which
// it was due; one that is due meanwhile is taken as soon as the first is there.
func TestACheckpointIsWrittenWhileTheJobGoesOn(t *testing.T) {
	want := uninterrupted(t, 64)
	c, s, j, step := slowJob(t)
	for j.at.Step < 2 {
		step()
	}
	require.Equal(t, 1, s.taken)
	for j.at.Step < 5 {
		step()
	}
	require.Equal(t, 1, s.taken, "the one of step 4 is owed")
	require.NoFileExists(t, c.Out+"/state/latest")
	s.gate <- nil
	<-j.saves[0].done
	require.Equal(t, "step-2\n", read(t, c.Out, stateDir, latestFile))
	copied := c
	copied.Out = filepath.Join(t.TempDir(), "copied")
	require.NoError(t, os.CopyFS(copied.Out, os.DirFS(c.Out))) // with a log that has gone on
	resumed, d := again(t, copied)
	require.Equal(t, 2, resumed.at.Step)
	d.drive(t, resumed, c.Rows, c.Blocks)
	require.Equal(t, want, leftBy(t, copied))
	step()
	require.Equal(t, 2, s.taken)
	s.gate <- nil
	for !j.Done() {
		step()
		select {
		case s.gate <- nil:
		default:
		}
	}
	require.NoError(t, j.Err(), "it is done, but has not ended")
	select {
	case <-j.Ended():
		t.Fatal("a job has ended before its checkpoint is there")
	default:
	}
	for ended := false; !ended; { // one or two are left to be read
		select {
		case s.gate <- nil:
		case <-j.Ended():
			ended = true
		}
	}
	require.NoError(t, j.Err())
	require.Equal(t, want, leftBy(t, c))
}

// A checkpoint that cannot be read or written ends the job, whatever it has done since;
// what was asked of it meanwhile is answered.
func TestACheckpointThatFailsLateEndsTheJob(t *testing.T) {
	_, s, j, step := slowJob(t)
	for j.at.Step < 3 {
		step()
	}
	asked := j.Detach(io.Discard)
	step()
	torn := errors.New("torn")
	s.gate <- torn
	s.gate <- torn
	require.ErrorContains(t, <-asked, "detach "+j.config.Out+": save the checkpoint of step 3: torn: there is no earlier one")
	step()
	<-j.Ended()
	require.EqualError(t, j.Err(), "save the checkpoint of step 2: torn: there is no earlier one")
}

// A job that is detached to someone slow goes on, and so does one whose transfer fails; its
// end waits for the transfer.
func TestAJobGoesOnWhileItIsSent(t *testing.T) {
	want := uninterrupted(t, 64)
	c, d := config(t)
	j := newTestJob(t, c)
	for j.at.Step < 3 {
		d.step(t, j, c.Rows, c.Blocks)
	}
	r, w := io.Pipe()
	sent := j.Detach(w)
	for !j.Done() {
		spans, updates := j.Next(c.Rows, c.Blocks)
		d.answer(t, j, spans, updates, c.Rows, c.Blocks)
	}
	require.Empty(t, sent)
	require.Empty(t, j.Ended())
	there, moved, e := elsewhere(t, r, c)
	require.NoError(t, <-sent)
	require.Equal(t, 3, moved.at.Step)
	<-j.Ended()
	require.NoError(t, j.Err())
	assert.Equal(t, want, leftBy(t, c))
	e.drive(t, moved, there.Rows, there.Blocks)
	require.NoError(t, moved.Err())
	assert.Equal(t, want, leftBy(t, there))
}

// A job that is told to stop while what it is has not been written on behalf of someone
// else fails if that fails.
func TestTheLastCheckpointIsNeeded(t *testing.T) {
	for _, torn := range []error{nil, errors.New("torn")} {
		_, s, j, step := slowJob(t)
		step()
		var file bytes.Buffer
		asked := j.Detach(&file)
		j.Stop()
		step()
		require.True(t, j.Done())
		require.Equal(t, 1, s.taken)
		s.gate <- torn
		<-j.Ended()
		require.ErrorIs(t, j.Err(), torn)
		require.ErrorIs(t, <-asked, torn)
		require.Equal(t, torn == nil, file.Len() > 0)
	}
}
