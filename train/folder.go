package train

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// What is in a job's folder.
const (
	configFile = "adapter_config.json"
	modelFile  = "adapter_model.safetensors"
	logFile    = "training_log.jsonl"
	curveFile  = "loss.svg"
	stateDir   = "state"

	latestFile = "latest"        // in stateDir: the name of the checkpoint there that counts
	jobFile    = "job.json"      // in a checkpoint, beside the adapter's two files
	stateFile  = "optimizer.bin" // in a checkpoint
)

var errNoCheckpoint = errors.New("there is no checkpoint to resume")

const maxSmallFile = 1 << 20 // bytes of job.json, latest and adapter_config.json

// folder is a job's folder. A checkpoint is a folder in state/ that is written
// under another name, renamed when it is complete, and counts from when
// state/latest names it. Only then the adapter's files are copied to the top, and
// older checkpoints removed. So whenever a job is killed, the checkpoint that
// counts is complete, and the adapter at the top is a whole one.
type folder struct {
	dir    string
	disk   disk
	latest string // name of the checkpoint that counts; empty: there is none
}

func (f *folder) path(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

// vacant refuses a folder with something in it, unless a job's files there are
// to be overwritten.
func (f *folder) vacant(overwrite bool) error {
	empty, err := isEmpty(f.dir)
	switch {
	case err != nil:
		return fmt.Errorf("--out: %w", err)
	case !empty && !overwrite:
		return fmt.Errorf("--out %s: the folder is not empty: go on with its job by --resume, or remove that by --overwrite", f.dir)
	}
	return nil
}

// prepare makes the folder for a new job.
func (f *folder) prepare(overwrite bool) error {
	if err := f.vacant(overwrite); err != nil {
		return err
	}
	if err := f.disk.MakeDir(f.path(stateDir)); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return f.clear()
}

// clear removes what a job leaves, and nothing else. The configuration goes
// first: without it nobody takes the rest for an adapter.
func (f *folder) clear() error {
	for _, name := range []string{configFile, filepath.Join(stateDir, latestFile), modelFile, logFile, curveFile} {
		if err := f.disk.RemoveAll(f.path(name)); err != nil {
			return err
		}
	}
	return f.clean()
}

// ours are the names that a job gives in state/.
var ours = regexp.MustCompile(`^(step-\d+(\.1)?(\.tmp)?|latest\.tmp)$`)

// clean removes what a job left in state/ and what does not count: older
// checkpoints, and those that were not completed.
func (f *folder) clean() error {
	entries, err := os.ReadDir(f.path(stateDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == f.latest || !ours.MatchString(e.Name()) {
			continue
		}
		if err := f.disk.RemoveAll(f.path(stateDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// find reads which checkpoint counts.
func (f *folder) find() error {
	data, err := readFile(f.path(stateDir, latestFile), maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", f.dir, errNoCheckpoint)
	}
	if err != nil {
		return err
	}
	name := strings.TrimSpace(string(data))
	if !strings.HasPrefix(name, "step-") || strings.ContainsAny(name, `/\`) || !filepath.IsLocal(name) {
		return fmt.Errorf("%s: %q is not the name of a checkpoint", f.path(stateDir, latestFile), name)
	}
	f.latest = name
	return nil
}

// add writes a checkpoint and makes it the one that counts.
func (f *folder) add(step int, fill func(dir string) error) error {
	name := fmt.Sprintf("step-%d", step)
	if name == f.latest { // the one that counts is never touched
		name += ".1"
	}
	if err := f.write(f.path(stateDir, name), fill); err != nil {
		return err
	}
	if err := replace(f.disk, f.path(stateDir, latestFile), whole([]byte(name+"\n"))); err != nil {
		return err
	}
	f.latest = name
	return nil
}

// write makes a folder that is complete from when it is there.
func (f *folder) write(dir string, fill func(dir string) error) error {
	temporary := dir + ".tmp"
	for _, old := range []string{temporary, dir} {
		if err := f.disk.RemoveAll(old); err != nil {
			return err
		}
	}
	err := f.disk.MakeDir(temporary)
	if err == nil {
		err = fill(temporary)
	}
	if err == nil {
		err = f.disk.Rename(temporary, dir)
	}
	if err != nil {
		err = discard(f.disk, temporary, err)
	}
	return err
}

// publish copies the adapter of the checkpoint that counts to the top. Its
// configuration, other than the tensors, does not change in the course of a job; where
// it does, the old one goes before the tensors change, so that never one is
// taken for the other's.
func (f *folder) publish() error {
	config, err := readFile(f.path(stateDir, f.latest, configFile), maxSmallFile)
	if err != nil {
		return err
	}
	old, err := readFile(f.path(configFile), maxSmallFile)
	same := err == nil && bytes.Equal(old, config)
	if !same {
		if err := f.disk.RemoveAll(f.path(configFile)); err != nil {
			return err
		}
	}
	if err := f.copyUp(modelFile); err != nil || same {
		return err
	}
	return f.copyUp(configFile)
}

func (f *folder) copyUp(name string) error {
	from, err := os.Open(f.path(stateDir, f.latest, name))
	if err != nil {
		return err
	}
	defer from.Close()
	return replace(f.disk, f.path(name), func(w io.Writer) error {
		_, err := io.Copy(w, from)
		return err
	})
}
