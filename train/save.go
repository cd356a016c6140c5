package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"loquetier/virtualmod"
)

// save is a checkpoint on its way into the job's folder. What the job is at one moment is
// taken in the job's goroutine; it is read and written by a goroutine of the save's own,
// while the job goes on. Saves of a job are written one after the other.
type save struct {
	at    progress
	fresh bool                                        // it has what follows; else the save before is the same
	mark  checkpoint                                  // but for its state's mark
	curve Curve                                       // up to then
	read  func() (*virtualmod.Adapter, []byte, error) // see Trainee.Snapshot
	due   bool                                        // the job fails without it
	to    []detachment                                // who wants it as a job file

	done chan struct{} // closed at its end
	path string        // of the checkpoint; this and err are valid then
	err  error
}

// over tells whether a save has ended.
func (s *save) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// save begins a checkpoint of this moment, if anything has changed since the last one,
// on behalf of the job where it is due, and of those who want it as a job file.
func (j *Job) save(due bool, to ...detachment) {
	known := j.everSaved && j.saved == j.at
	if known && due {
		j.needSaves()
	}
	if known && len(to) == 0 {
		return
	}
	s := &save{at: j.at, due: due, to: to, done: make(chan struct{})}
	if !known {
		j.take(s)
	}
	var before *save
	if n := len(j.saves); n > 0 {
		before = j.saves[n-1]
	}
	j.saves = append(j.saves, s)
	go j.write(s, before)
}

// needSaves makes the job fail where what is on its way is not written.
func (j *Job) needSaves() {
	for _, s := range j.saves {
		s.due = s.due || s.at == j.at
	}
}

// take takes what the job is now.
func (j *Job) take(s *save) {
	s.mark = checkpoint{
		Version: checkpointVersion, Base: j.config.Base, Settings: j.config.Settings, Data: j.data, Progress: j.at, LogBytes: j.log.bytes,
	}
	s.curve, s.fresh = j.log.curve, true
	if s.read, s.err = j.config.Trainee.Snapshot(); s.err == nil {
		j.saved, j.everSaved = j.at, true
	}
}

// settle takes note of the saves that have ended.
func (j *Job) settle() (failed error) {
	for len(j.saves) > 0 && j.saves[0].over() {
		s := j.saves[0]
		j.saves = j.saves[1:]
		switch {
		case s.err == nil && s.fresh:
			j.tell(Event{Kind: Saved, Step: s.at.Step, Path: s.path})
		case s.err != nil && s.due:
			failed = errors.Join(failed, s.err)
		case s.err != nil && j.saved == s.at:
			j.everSaved = false
		}
	}
	return failed
}

// write writes a save's checkpoint and job files, after the save before. On an error the
// checkpoint before stays.
func (j *Job) write(s, before *save) {
	defer close(s.done)
	if before != nil {
		<-before.done
	}
	switch {
	case s.fresh:
		s.err = j.writeCheckpoint(s)
	case before != nil:
		s.err = before.err
	}
	for _, d := range s.to {
		d.done <- j.send(s, d.to)
	}
}

// send sends a save's checkpoint as a job file.
func (j *Job) send(s *save, w io.Writer) error {
	err := s.err
	if err == nil {
		err = j.folder.pack(w)
	}
	if err != nil {
		return fmt.Errorf("detach %s: %w", j.config.Out, err)
	}
	return nil
}

func (j *Job) writeCheckpoint(s *save) error {
	err := s.err
	if err == nil {
		err = j.addCheckpoint(s)
	}
	if err == nil {
		return nil
	}
	stays := "there is no earlier one"
	if j.written != nil {
		stays = fmt.Sprintf("the one of step %d stays", *j.written)
	}
	return fmt.Errorf("save the checkpoint of step %d: %w: %s", s.at.Step, err, stays)
}

func (j *Job) addCheckpoint(s *save) error {
	adapter, state, err := s.read()
	if err != nil {
		return err
	}
	if err := j.config.disk.Sync(j.log.file); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	s.mark.State = markBlob(state)
	if err := j.folder.add(s.at.Step, func(dir string) error { return j.fill(dir, s.mark, adapter, state) }); err != nil {
		return err
	}
	j.written, s.path = &s.at.Step, j.folder.path(stateDir, j.folder.latest)
	if err := j.folder.publish(); err != nil {
		return err
	}
	if err := replace(j.config.disk, j.folder.path(curveFile), s.curve.SVG); err != nil {
		return err
	}
	return j.folder.clean()
}

// fill writes a checkpoint's files.
func (j *Job) fill(dir string, mark checkpoint, adapter *virtualmod.Adapter, state []byte) error {
	if !adapter.Finite() {
		return errors.New("the adapter has numbers that are not finite: lower --lr")
	}
	if err := j.config.WriteAdapter(adapter, dir); err != nil {
		return err
	}
	if err := j.config.disk.Write(filepath.Join(dir, stateFile), whole(state)); err != nil {
		return err
	}
	data, err := json.MarshalIndent(mark, "", "  ")
	if err != nil {
		return err
	}
	return j.config.disk.Write(filepath.Join(dir, jobFile), whole(data))
}
