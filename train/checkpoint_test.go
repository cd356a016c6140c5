package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// again is a job that resumes c, on a device that has forgotten everything.
func again(t *testing.T, c Config) (*Job, device) {
	t.Helper()
	d := device{4: {slot: 4}}
	c.Trainee, c.Resume, c.Overwrite = d[4], true, false
	return newTestJob(t, c), d
}

// intact checks that a folder's adapter is one that a checkpoint had.
func intact(t *testing.T, out string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(out, configFile)); err == nil {
		assert.Equal(t, "config", read(t, out, configFile))
		assert.Regexp(t, `^weights -?[0-9.e-]+$`, read(t, out, modelFile))
	}
}

// left is what a run leaves.
type left struct {
	log    []map[string]any
	weight string
}

func leftBy(t *testing.T, c Config) left {
	t.Helper()
	return left{logged(t, c.Out), read(t, c.Out, modelFile)}
}

func uninterrupted(t *testing.T, rows int) left {
	t.Helper()
	c, d := config(t)
	c.Rows = rows
	trained(t, c, d)
	return leftBy(t, c)
}

func TestAResumedJobGoesOnAsIfItHadNotStopped(t *testing.T) {
	const rows = 40 // several steps for an optimizer step
	want := uninterrupted(t, rows)
	midway := 0
	for after := 0; ; after++ {
		c, d := config(t)
		c.Rows = rows
		j := newTestJob(t, c)
		for range after {
			d.step(t, j, c.Rows, c.Blocks)
		}
		if j.Done() {
			break
		}
		if j.at.Cursor != j.at.Step*6 {
			midway++
		}
		j.Stop()
		d.step(t, j, c.Rows, c.Blocks)
		require.True(t, j.Done())
		require.NoError(t, j.Err())
		intact(t, c.Out)

		j, d = again(t, c)
		d.drive(t, j, c.Rows, c.Blocks)
		require.NoError(t, j.Err())
		require.Equal(t, want, leftBy(t, c), "stopped after %d steps", after)
	}
	assert.Greater(t, midway, 10, "gradients were pending")
}

func TestStopAfterKeepsTheSchedule(t *testing.T) {
	want := uninterrupted(t, 64)
	c, d := config(t)
	for _, after := range []int{3, 5, 5, 20} {
		c.Settings.StopAfter = after
		j := newTestJob(t, c)
		d.drive(t, j, c.Rows, c.Blocks)
		require.NoError(t, j.Err())
		assert.Equal(t, min(after, 9), j.at.Step)
		d = device{4: {slot: 4}}
		c.Trainee, c.Resume = d[4], true
	}
	assert.Equal(t, want, leftBy(t, c))
	j, d := again(t, c)
	d.drive(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	assert.Equal(t, want, leftBy(t, c), "a finished job has nothing to do")
}

func TestOnlyTheLastCheckpointIsKept(t *testing.T) {
	c, d := config(t)
	trained(t, c, d)
	var names []string
	require.NoError(t, filepath.WalkDir(c.Out, func(path string, _ os.DirEntry, err error) error {
		path, _ = filepath.Rel(c.Out, path)
		names = append(names, path)
		return err
	}))
	assert.Equal(t, []string{
		".", configFile, modelFile, curveFile, "state", "state/latest", "state/step-9",
		"state/step-9/" + configFile, "state/step-9/" + modelFile, "state/step-9/job.json", "state/step-9/optimizer.bin", logFile,
	}, names)
	dir, settings, err := Latest(c.Out)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(c.Out, "state/step-9"), dir)
	assert.Equal(t, c.Settings, settings)
}

func TestTheRealDiskSavesToo(t *testing.T) {
	c, d := config(t)
	c.disk, c.WriteAdapter, c.Out = nil, adapterWriter(osDisk{}), filepath.Join(c.Out, "deep", "out")
	trained(t, c, d)
	assert.Equal(t, uninterrupted(t, 64), leftBy(t, c))
}

var errKilled = errors.New("killed")

// mortal is a disk on which, after so many operations, one is left half done
// and all later ones fail: what a kill leaves behind.
type mortal struct {
	quick
	left *int
}

func (m mortal) dies() bool {
	*m.left--
	return *m.left < 0
}

func (m mortal) MakeDir(dir string) error {
	if m.dies() {
		return errKilled
	}
	return m.quick.MakeDir(dir)
}

func (m mortal) Write(path string, write func(io.Writer) error) error {
	if !m.dies() {
		return m.quick.Write(path, write)
	}
	if *m.left == -1 {
		var data bytes.Buffer
		if err := write(&data); err != nil {
			return err
		}
		if err := os.WriteFile(path, data.Bytes()[:data.Len()/2], 0o600); err != nil {
			return err
		}
	}
	return errKilled
}

func (m mortal) Rename(from, to string) error {
	if m.dies() {
		return errKilled
	}
	return m.quick.Rename(from, to)
}

func (m mortal) RemoveAll(path string) error {
	entries, _ := os.ReadDir(path)
	if !m.dies() {
		return m.quick.RemoveAll(path)
	}
	if *m.left == -1 && len(entries) > 0 {
		return m.quick.RemoveAll(filepath.Join(path, entries[0].Name()))
	}
	return errKilled
}

func TestAKillAtAnyOperationLeavesACheckpoint(t *testing.T) {
	want := uninterrupted(t, 64)
	resumed := 0
	for operations := 0; ; operations++ {
		c, d := config(t)
		left := operations
		c.disk = mortal{left: &left}
		c.WriteAdapter = adapterWriter(c.disk)
		j, err := NewJob(c)
		if err == nil {
			d.drive(t, j, c.Rows, c.Blocks)
			err = j.Err()
		}
		if err == nil {
			break // it lived
		}
		require.ErrorIs(t, err, errKilled)
		intact(t, c.Out)
		c.disk, c.WriteAdapter = quick{}, adapterWriter(quick{})
		if _, err := os.Stat(filepath.Join(c.Out, stateDir, latestFile)); err == nil {
			resumed++
			j, d = again(t, c)
			require.FileExists(t, filepath.Join(c.Out, configFile))
			intact(t, c.Out)
		} else {
			c.Overwrite, d = true, device{4: {slot: 4}}
			c.Trainee = d[4]
			j = newTestJob(t, c)
		}
		d.drive(t, j, c.Rows, c.Blocks)
		require.NoError(t, j.Err())
		require.Equal(t, want, leftBy(t, c), "killed after %d operations", operations)
		entries, err := os.ReadDir(filepath.Join(c.Out, stateDir))
		require.NoError(t, err)
		require.Len(t, entries, 2, "nothing is left over")
	}
	assert.Greater(t, resumed, 40)
}

// A job that stops in the middle of a step saves it a second time.
func TestAKillAtTheSecondCheckpointOfAStep(t *testing.T) {
	const rows = 40
	want := uninterrupted(t, rows)
	for operations := 0; ; operations++ {
		c, d := config(t)
		c.Rows = rows
		left := 1 << 30
		c.disk = mortal{left: &left}
		c.WriteAdapter = adapterWriter(c.disk)
		j := newTestJob(t, c)
		for j.at.Step < 2 || j.at.Cursor == 12 {
			d.step(t, j, c.Rows, c.Blocks)
		}
		require.Equal(t, "step-2\n", read(t, c.Out, stateDir, latestFile))
		left = operations
		j.Stop()
		d.step(t, j, c.Rows, c.Blocks)
		require.True(t, j.Done())
		lived := j.Err() == nil
		intact(t, c.Out)
		c.disk, c.WriteAdapter = quick{}, adapterWriter(quick{})
		j, d = again(t, c)
		d.drive(t, j, c.Rows, c.Blocks)
		require.NoError(t, j.Err())
		require.Equal(t, want, leftBy(t, c), "killed after %d operations", operations)
		if lived {
			assert.Greater(t, operations, 10)
			return
		}
	}
}

// full is a disk without room for one more file.
type full struct {
	quick
	from int // step whose checkpoint finds no room
	job  **Job
}

func (f full) Write(path string, write func(io.Writer) error) error {
	if *f.job != nil && (*f.job).at.Step >= f.from && strings.HasSuffix(path, stateFile) {
		return &os.PathError{Op: "write", Path: filepath.Base(path), Err: syscall.ENOSPC}
	}
	return f.quick.Write(path, write)
}

func TestAFullDiskLeavesTheCheckpointBefore(t *testing.T) {
	want := uninterrupted(t, 64)
	for from, stays := range map[int]string{2: "there is no earlier one", 6: "the one of step 4 stays"} {
		c, d := config(t)
		var j *Job
		c.disk = full{from: from, job: &j}
		j = newTestJob(t, c)
		d.drive(t, j, c.Rows, c.Blocks)
		step := map[int]string{2: "2", 6: "6"}[from]
		require.EqualError(t, j.Err(), "save the checkpoint of step "+step+": write optimizer.bin: no space left on device: "+stays)
		entries, err := os.ReadDir(filepath.Join(c.Out, stateDir))
		require.NoError(t, err)
		if from == 2 {
			assert.Empty(t, entries)
			continue
		}
		require.Len(t, entries, 2, "what was begun is removed")
		c.disk = quick{}
		j, d = again(t, c)
		d.drive(t, j, c.Rows, c.Blocks)
		assert.Equal(t, want, leftBy(t, c))
	}
}

func TestOverwriteRemovesOnlyWhatAJobLeaves(t *testing.T) {
	c, d := config(t)
	want := uninterrupted(t, 64)
	c.Settings.Steps = 5
	trained(t, c, d)
	require.NoError(t, os.WriteFile(filepath.Join(c.Out, "notes.txt"), []byte("mine"), 0o600))
	c.Settings.Steps, c.Overwrite, d = 9, true, device{4: {slot: 4}}
	c.Trainee = d[4]
	j := newTestJob(t, c)
	assert.NoFileExists(t, filepath.Join(c.Out, configFile))
	d.drive(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	assert.Equal(t, want, leftBy(t, c))
	assert.Equal(t, "mine", read(t, c.Out, "notes.txt"))
}

func TestResumeRefusesAnotherJob(t *testing.T) {
	c, d := config(t)
	trained(t, c, d)
	before := leftBy(t, c)
	for want, change := range map[string]func(*Config){
		"--lr: the checkpoint has 0.01, now it is 0.02":                                                     func(c *Config) { c.Settings.LR = 0.02 },
		"--steps: the checkpoint has 9, now it is 10":                                                       func(c *Config) { c.Settings.Steps = 10 },
		`--schedule: the checkpoint has "linear", now it is "cosine"`:                                       func(c *Config) { c.Settings.Schedule = Cosine },
		"--rank: the checkpoint has 8, now it is 16":                                                        func(c *Config) { c.Settings.Rank, c.Settings.Seed = 16, 3 },
		"the base model: the checkpoint has sha256:1, now it is sha256:2":                                   func(c *Config) { c.Base = "sha256:2" },
		"the data: the checkpoint has x.jsonl (13 sequences, HASH), now it is x.jsonl (12 sequences, HASH)": func(c *Config) { c.Data = examples(12) },
	} {
		c := c
		c.Resume = true
		change(&c)
		_, err := NewJob(c)
		require.Error(t, err)
		assert.Equal(t, "resume: "+want, hashes.ReplaceAllString(err.Error(), "HASH"))
	}
	assert.Equal(t, before, leftBy(t, c))

	c.Settings.StopAfter, c.Settings.EvalEvery, c.Settings.SaveEvery, c.Eval = 3, 1, 1, nil
	j, _ := again(t, c)
	assert.NotNil(t, j)
}

func TestResumeRefusesDamage(t *testing.T) {
	step := func(name string) string { return filepath.Join(stateDir, "step-9", name) }
	job := func(c *Config, change func(*checkpoint)) {
		var p checkpoint
		require.NoError(t, json.Unmarshal([]byte(read(t, c.Out, step(jobFile))), &p))
		change(&p)
		data, err := json.Marshal(p)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(c.Out, step(jobFile)), data, 0o600))
	}
	for want, damage := range map[string]func(c *Config){
		"optimizer.bin has 3 bytes, job.json says": func(c *Config) {
			require.NoError(t, os.Truncate(filepath.Join(c.Out, step(stateFile)), 3))
		},
		"optimizer.bin has the hash sha256:": func(c *Config) {
			data := []byte(read(t, c.Out, step(stateFile)))
			data[0]++
			require.NoError(t, os.WriteFile(filepath.Join(c.Out, step(stateFile)), data, 0o600))
		},
		"job.json: unexpected end of JSON input": func(c *Config) {
			require.NoError(t, os.Truncate(filepath.Join(c.Out, step(jobFile)), 30))
		},
		"no such file": func(c *Config) { require.NoError(t, os.Remove(filepath.Join(c.Out, step(modelFile)))) },
		`latest: "../../x" is not the name of a checkpoint`: func(c *Config) {
			require.NoError(t, os.WriteFile(filepath.Join(c.Out, stateDir, latestFile), []byte("../../x\n"), 0o600))
		},
		`latest: "step-/../../x" is not the name of a checkpoint`: func(c *Config) {
			require.NoError(t, os.WriteFile(filepath.Join(c.Out, stateDir, latestFile), []byte("step-/../../x\n"), 0o600))
		},
		"job.json: version 2, want 1":                              func(c *Config) { job(c, func(p *checkpoint) { p.Version = 2 }) },
		"job.json: step 10, but there are 9":                       func(c *Config) { job(c, func(p *checkpoint) { p.Progress.Step = 10 }) },
		"job.json: 10 updates in 9 steps":                          func(c *Config) { job(c, func(p *checkpoint) { p.Progress.Updates = 10 }) },
		"job.json: cursor 60 at step 9 of 6 sequences each":        func(c *Config) { job(c, func(p *checkpoint) { p.Progress.Cursor = 60 }) },
		"job.json: a count is below 0 or too large":                func(c *Config) { job(c, func(p *checkpoint) { p.Progress.Evaluated = 10 }) },
		"training_log.jsonl: 2147483648 bytes, at most 1073741824": func(c *Config) { job(c, func(p *checkpoint) { p.LogBytes = 1 << 31 }) },
	} {
		c, d := config(t)
		trained(t, c, d)
		damage(&c)
		c.Resume = true
		_, err := NewJob(c)
		assert.ErrorContains(t, err, want)
	}
}

func TestALogThatWasLostIsBegunAnew(t *testing.T) {
	c, d := config(t)
	c.Settings.StopAfter = 4
	trained(t, c, d)
	require.NoError(t, os.Remove(filepath.Join(c.Out, logFile)))
	c.Settings.StopAfter = 0
	j, d := again(t, c)
	d.drive(t, j, c.Rows, c.Blocks)
	require.NoError(t, j.Err())
	want := uninterrupted(t, 64)
	got := leftBy(t, c)
	assert.Equal(t, want.weight, got.weight)
	assert.Equal(t, want.log[len(want.log)-len(got.log):], got.log)
}
