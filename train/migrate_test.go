package train

import (
	"bytes"
	"io"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// elsewhere is a job that goes on from a job file, in another folder and on a
// device that knows nothing of it.
func elsewhere(t *testing.T, file io.Reader, c Config) (Config, *Job, device) {
	t.Helper()
	c.Out = filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, unpack(file, c.Out, quick{}))
	j, d := again(t, c)
	return c, j, d
}

// detached detaches a job now, between two of its steps.
func detached(j *Job, to io.Writer) error {
	done := j.Detach(to)
	j.keepUp()
	return <-done
}

// Wherever it is cut off, in the middle of an accumulation or an evaluation
// too, both sides would go on to the same end.
func TestAJobThatMovesGoesOnAsIfItHadStayed(t *testing.T) {
	const rows = 40 // several steps for an optimizer step or an evaluation
	want := uninterrupted(t, rows)
	accumulating, evaluating := 0, 0
	for after := 0; ; after++ {
		c, d := config(t)
		c.Rows = rows
		j := newTestJob(t, c)
		for range after {
			d.step(t, j, c.Rows, c.Blocks)
		}
		if j.Done() {
			require.ErrorContains(t, detached(j, io.Discard), "the job has ended")
			break
		}
		if j.at.Cursor != j.at.Step*6 {
			accumulating++
		}
		if j.evaluation != nil && j.evaluation.next > 0 {
			evaluating++
		}
		var file bytes.Buffer
		require.NoError(t, detached(j, &file))
		require.False(t, j.Done())

		there, moved, e := elsewhere(t, &file, c)
		e.drive(t, moved, there.Rows, there.Blocks)
		require.NoError(t, moved.Err())
		require.Equal(t, want, leftBy(t, there), "detached after %d steps", after)

		if after%2 == 0 {
			j.Leave()
			require.True(t, j.Done())
			require.NoError(t, j.Err())
			j.Leave()
			spans, updates := j.Next(c.Rows, c.Blocks)
			require.Empty(t, spans)
			require.Empty(t, updates)
			j, d = again(t, c)
		}
		d.drive(t, j, c.Rows, c.Blocks)
		require.NoError(t, j.Err())
		require.Equal(t, want, leftBy(t, c), "stayed after %d steps", after)
	}
	assert.Greater(t, accumulating, 10)
	assert.Greater(t, evaluating, 2)
}

// narrow takes so many bytes.
type narrow struct{ left int }

func (n *narrow) Write(p []byte) (int, error) {
	if len(p) > n.left {
		taken := n.left
		n.left = 0
		return taken, syscall.ENOSPC
	}
	n.left -= len(p)
	return len(p), nil
}

// Without room for the file the job stays: its folder is whole, and it goes on.
func TestAJobThatCannotMoveStays(t *testing.T) {
	const rows = 40
	want := uninterrupted(t, rows)
	c, d := config(t)
	c.Rows = rows
	j := newTestJob(t, c)
	for j.at.Step < 3 || j.at.Cursor == 18 {
		d.step(t, j, c.Rows, c.Blocks)
	}
	var file bytes.Buffer
	require.NoError(t, detached(j, &file))
	folder := tree(t, c.Out)
	for room := 0; room < file.Len(); room += 1 + room/40 {
		require.ErrorIs(t, detached(j, &narrow{room}), syscall.ENOSPC)
		require.False(t, j.Done())
		require.Equal(t, folder, tree(t, c.Out))
	}
	require.NoError(t, detached(j, &narrow{file.Len()}))
	d.drive(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	require.Equal(t, want, leftBy(t, c))
}

// Without room for the checkpoint it stays too.
func TestAJobThatCannotSaveStays(t *testing.T) {
	want := uninterrupted(t, 64)
	c, d := config(t)
	c.Settings.SaveEvery = 0
	var j, none *Job
	onDisk := &full{from: 3, job: &none}
	c.disk = onDisk
	j = newTestJob(t, c)
	for j.at.Step < 4 {
		d.step(t, j, c.Rows, c.Blocks)
	}
	onDisk.job = &j
	var file bytes.Buffer
	require.ErrorIs(t, detached(j, &file), syscall.ENOSPC)
	require.Zero(t, file.Len())
	onDisk.job = &none
	d.drive(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	require.Equal(t, want, leftBy(t, c))
}

func TestAMovedJobIsRefusedElsewhere(t *testing.T) {
	file, c := packedJob(t)
	for want, change := range map[string]func(*Config){
		"resume: the base model: the checkpoint has sha256:1, now it is sha256:2": func(c *Config) { c.Base = "sha256:2" },
		"resume: --lr: the checkpoint has 0.01, now it is 0.5":                    func(c *Config) { c.Settings.LR = 0.5 },
		"resume: the data: the checkpoint has x.jsonl (13 sequences, HASH), now it is x.jsonl (13 sequences, HASH)": func(c *Config) {
			c.Data = examples(13)
			c.Data.Examples[3].IDs[0]++
		},
	} {
		c := c
		c.Out, c.Resume = filepath.Join(t.TempDir(), "out"), true
		require.NoError(t, unpack(bytes.NewReader(file), c.Out, quick{}))
		before := tree(t, c.Out)
		change(&c)
		_, err := NewJob(c)
		require.Error(t, err)
		require.Equal(t, want, hashes.ReplaceAllString(err.Error(), "HASH"))
		require.Equal(t, before, tree(t, c.Out))
	}
}

// A job file can be sent while the job goes on: what is sent is the moment of
// Detach.
func TestWhatAJobDoesAfterDetachIsNotInTheFile(t *testing.T) {
	c, d := config(t)
	j := newTestJob(t, c)
	for j.at.Step < 2 {
		d.step(t, j, c.Rows, c.Blocks)
	}
	var file bytes.Buffer
	require.NoError(t, detached(j, &file))
	d.drive(t, j, c.Rows, c.Blocks)
	info, err := InspectFile(&file)
	require.NoError(t, err)
	require.Equal(t, 2, info.Step)
	require.NoError(t, j.Err())
}

// What is asked for in the middle of a step, or of the backward pass behind it, waits
// for its end.
func TestAJobIsDetachedBetweenItsSteps(t *testing.T) {
	const rows = 40
	want := uninterrupted(t, rows)
	c, d := config(t)
	c.Rows = rows
	j := newTestJob(t, c)
	for j.at.Cursor == j.at.Step*6 || j.at.Step == 0 {
		d.step(t, j, c.Rows, c.Blocks)
	}
	var early, late bytes.Buffer
	first := j.Detach(&early)
	spans, updates := j.Next(c.Rows, c.Blocks)
	require.NoError(t, <-first)
	second := j.Detach(&late)
	failed := j.Detach(&narrow{10})
	before := j.at.Cursor
	require.Empty(t, second)
	d.answer(t, j, spans, updates, c.Rows, c.Blocks)
	require.NotEqual(t, before, j.at.Cursor)
	require.Empty(t, second)
	d.drive(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	require.NoError(t, <-second)
	require.ErrorIs(t, <-failed, syscall.ENOSPC)
	require.ErrorContains(t, <-j.Detach(io.Discard), "the job has ended")
	require.Equal(t, want, leftBy(t, c))
	for _, file := range []*bytes.Buffer{&early, &late} {
		there, moved, e := elsewhere(t, file, c)
		e.drive(t, moved, there.Rows, there.Blocks)
		require.NoError(t, moved.Err())
		require.Equal(t, want, leftBy(t, there))
	}
}

// A job that ends first answers what was asked of it.
func TestAJobThatEndsIsNotDetached(t *testing.T) {
	c, _ := config(t)
	j := newTestJob(t, c)
	asked := j.Detach(io.Discard)
	j.Leave()
	require.ErrorContains(t, <-asked, "the job has ended")
}
