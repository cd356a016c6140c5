package train

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// checkpoint is job.json: what a job needs to go on beside the adapter's
// weights and the optimizer's state, and what must be the same when it does.
type checkpoint struct {
	Version  int      `json:"version"`
	Base     string   `json:"base"`
	Settings Settings `json:"settings"`
	Data     dataMark `json:"data"`
	Progress progress `json:"progress"`
	LogBytes int64    `json:"log_bytes"` // of the log that belong to it
	State    blobMark `json:"state"`
}

const checkpointVersion = 1

// dataMark tells data apart.
type dataMark struct {
	File      string `json:"file"` // for messages
	Sequences int    `json:"sequences"`
	Hash      string `json:"hash"`
}

// blobMark tells whether a file is whole.
type blobMark struct {
	Bytes int64  `json:"bytes"`
	Hash  string `json:"hash"`
}

func markBlob(data []byte) blobMark {
	h := sha256.New()
	h.Write(data) // a hash takes everything
	return blobMark{int64(len(data)), hashName(h)}
}

// maxState is the largest optimizer state that is read, in bytes.
const maxState = 64 << 30

// Latest finds the checkpoint that a job in the folder out would resume: a
// folder with the adapter as PEFT has it, and the settings it was trained with.
func Latest(out string) (dir string, settings Settings, err error) {
	f := folder{dir: out, disk: osDisk{}}
	c, err := f.read()
	if err != nil {
		return "", Settings{}, err
	}
	return f.path(stateDir, f.latest), c.Settings, nil
}

// read reads the job.json of the checkpoint that counts.
func (f *folder) read() (checkpoint, error) {
	if err := f.find(); err != nil {
		return checkpoint{}, err
	}
	name := f.path(stateDir, f.latest, jobFile)
	data, err := readFile(name, maxSmallFile)
	if err != nil {
		return checkpoint{}, err
	}
	return decodeCheckpoint(name, data)
}

// decodeCheckpoint reads a job.json that came from name.
func decodeCheckpoint(name string, data []byte) (c checkpoint, err error) {
	if err := json.Unmarshal(data, &c); err != nil {
		return checkpoint{}, fmt.Errorf("%s: %w", name, err)
	}
	if c.Version != checkpointVersion {
		return checkpoint{}, fmt.Errorf("%s: version %d, want %d", name, c.Version, checkpointVersion)
	}
	return c, nil
}

// readState reads the optimizer's state and checks that it is whole.
func (f *folder) readState(want blobMark) ([]byte, error) {
	name := f.path(stateDir, f.latest, stateFile)
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() != want.Bytes {
		return nil, fmt.Errorf("%s has %d bytes, %s says %d", name, info.Size(), jobFile, want.Bytes)
	}
	data, err := readFile(name, maxState)
	if err != nil {
		return nil, err
	}
	if got := markBlob(data); got != want {
		return nil, fmt.Errorf("%s has the hash %s, %s says %s", name, got.Hash, jobFile, want.Hash)
	}
	return data, nil
}

func (d *Dataset) mark() dataMark {
	return dataMark{File: d.base(), Sequences: len(d.Examples), Hash: d.fingerprint()}
}

// begin prepares the folder for a new job.
func (j *Job) begin() (err error) {
	if err := j.folder.prepare(j.config.Overwrite); err != nil {
		return err
	}
	j.log, err = openLog(j.folder.path(logFile), 0, j.config.Log)
	return err
}

// resume goes on from the checkpoint that counts, as if the job had never
// stopped there.
func (j *Job) resume() error {
	c, err := j.folder.read()
	if errors.Is(err, errNoCheckpoint) {
		err = fmt.Errorf("%w: start a job with --overwrite", err)
	}
	if err == nil {
		err = j.fits(c)
	}
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	state, err := j.folder.readState(c.State)
	if err == nil {
		err = j.config.Trainee.Restore(state)
	}
	if err == nil {
		err = j.complete(c)
	}
	if err != nil {
		return fmt.Errorf("resume %s: %w", j.config.Out, err)
	}
	j.at, j.saved, j.everSaved, j.written = c.Progress, c.Progress, true, &c.Progress.Step
	return nil
}

// fits refuses a checkpoint of another job: its next steps would not be this
// one's.
func (j *Job) fits(c checkpoint) error {
	if j.config.Base != "" && c.Base != j.config.Base {
		return fmt.Errorf("the base model: the checkpoint has %s, now it is %s", c.Base, j.config.Base)
	}
	if err := j.config.Settings.same(c.Settings); err != nil {
		return err
	}
	if now := j.data; c.Data.Hash != now.Hash || c.Data.Sequences != now.Sequences {
		return fmt.Errorf("the data: the checkpoint has %s, now it is %s", c.Data, now)
	}
	return c.Progress.check(j.config.Settings.batch(), j.steps)
}

func (m dataMark) String() string {
	return fmt.Sprintf("%s (%d sequences, %.19s)", m.File, m.Sequences, m.Hash)
}

// check refuses what no job writes.
func (p progress) check(batch, steps int) error {
	begun := p.Cursor - p.Step*batch
	switch {
	case p.Step < 0 || p.Step > steps:
		return fmt.Errorf("%s: step %d, but there are %d", jobFile, p.Step, steps)
	case p.Updates < 0 || p.Updates > p.Step:
		return fmt.Errorf("%s: %d updates in %d steps", jobFile, p.Updates, p.Step)
	case begun < 0 || begun >= batch:
		return fmt.Errorf("%s: cursor %d at step %d of %d sequences each", jobFile, p.Cursor, p.Step, batch)
	case p.Pending.Targets < 0 || p.Pending.Tokens < 0 || p.Skipped < 0 || p.Evaluated < -1 || p.Evaluated > p.Step:
		return fmt.Errorf("%s: a count is below 0 or too large", jobFile)
	}
	return nil
}

// complete does what was left undone if the job was killed while it saved, and
// drops what it did after that.
func (j *Job) complete(c checkpoint) (err error) {
	if err := j.folder.publish(); err != nil {
		return err
	}
	if err := j.folder.clean(); err != nil {
		return err
	}
	j.log, err = openLog(j.folder.path(logFile), c.LogBytes, j.config.Log)
	return err
}
