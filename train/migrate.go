package train

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Detach has the job written to w, as a job file, as it is when no step and no backward
// pass of it is under way: soon, and it may be in the middle of an accumulation or an
// evaluation (which begins anew where the job goes on). Unpack makes the folder to resume it
// elsewhere of that: the losses from there on are those it would have had here. A
// checkpoint is saved first; the job and all else go on meanwhile, only its later checkpoints
// wait. It tells on the channel how that went. Whether or not there is an error the job goes
// on: who knows that it has arrived calls Leave. It may be called from any goroutine.
func (j *Job) Detach(w io.Writer) <-chan error {
	d := detachment{w, make(chan error, 1)}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done {
		d.done <- j.hasEnded()
	} else {
		j.detachments = append(j.detachments, d)
	}
	return d.done
}

// detachment is one that was asked for.
type detachment struct {
	to   io.Writer
	done chan error
}

// detachAll does what was asked for by Detach.
func (j *Job) detachAll() {
	j.mu.Lock()
	all := j.detachments
	j.detachments = nil
	j.mu.Unlock()
	if len(all) > 0 {
		j.save(false, all...)
	}
}

func (j *Job) hasEnded() error { return fmt.Errorf("detach %s: the job has ended", j.config.Out) }

// Leave ends the job without an error, as one that goes on elsewhere: what it
// has done since its last checkpoint is not saved. It is called between two
// steps, from the job's goroutine.
func (j *Job) Leave() {
	if !j.Done() {
		j.end(nil)
	}
}

// Pack writes the last checkpoint of the job in the folder dir as a job file. No
// process should be running the job: what it does meanwhile may be missed, or an error.
func Pack(dir string, w io.Writer) error {
	f := folder{dir: dir, disk: osDisk{}}
	if err := f.pack(w); err != nil {
		return fmt.Errorf("pack %s: %w", dir, err)
	}
	return nil
}

// Unpack makes the folder out, with those above it, of the job file that r
// begins with, and reads no further. A job of the same settings, data and base resumes
// from it. All of the file is checked before there is anything under the name out,
// and what is there already stays and is an error.
func Unpack(r io.Reader, out string) error { return unpack(r, out, osDisk{}) }

func unpack(r io.Reader, out string, d disk) error {
	out = filepath.Clean(out)
	if err := mustBeFree(out); err != nil {
		return err
	}
	u := unpacker{out: out, disk: d}
	_, err := readJobFile(r, u.take)
	if err == nil {
		err = u.finish()
	}
	if u.temporary != "" {
		err = errors.Join(err, d.RemoveAll(u.temporary))
	}
	return err
}

func mustBeFree(out string) error {
	_, err := os.Lstat(out)
	if err == nil {
		return fmt.Errorf("%s is there already: unpack into a folder that is not", out)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unpacker writes a job's folder under another name, beside the one it gets.
type unpacker struct {
	out       string
	disk      disk
	temporary string // holds the folder; empty: nothing has come yet
	folder    folder
}

// take writes a file, whose name is one of ours.
func (u *unpacker) take(c checkpoint, name string, content io.Reader) error {
	if u.temporary == "" {
		if err := u.begin(c); err != nil {
			return err
		}
	}
	path := u.folder.path(stateDir, u.folder.latest, name)
	if name == logFile {
		path = u.folder.path(logFile)
	}
	return u.disk.Write(path, func(w io.Writer) error {
		_, err := io.Copy(w, content)
		return err
	})
}

func (u *unpacker) begin(c checkpoint) (err error) {
	parent, name := filepath.Split(u.out)
	parent = filepath.Clean(parent)
	if err := u.disk.MakeDir(parent); err != nil {
		return err
	}
	if u.temporary, err = os.MkdirTemp(parent, "."+name+"-*.tmp"); err != nil {
		return err
	}
	u.folder = folder{dir: filepath.Join(u.temporary, name), disk: u.disk, latest: fmt.Sprintf("step-%d", c.Progress.Step)}
	return u.disk.MakeDir(u.folder.path(stateDir, u.folder.latest))
}

// finish completes the folder, as a job does that saves, and gives it its name.
func (u *unpacker) finish() error {
	f := &u.folder
	if err := replace(u.disk, f.path(stateDir, latestFile), whole([]byte(f.latest+"\n"))); err != nil {
		return err
	}
	if err := f.publish(); err != nil {
		return err
	}
	log, err := openLog(f.path(logFile), maxLog, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(replace(u.disk, f.path(curveFile), log.curve.SVG), log.close()); err != nil {
		return err
	}
	if err := mustBeFree(u.out); err != nil {
		return err
	}
	return u.disk.Rename(f.dir, u.out)
}
