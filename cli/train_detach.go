package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"loquetier/train"
)

// checkDetach refuses, before anything is trained, a file that could not be
// written at an interrupt.
func (o jobOptions) checkDetach() error {
	if o.detach == "" {
		return nil
	}
	if o.detach == "-" {
		return usagef("--detach -: it takes a file")
	}
	if _, err := os.Lstat(o.detach); err == nil {
		return fmt.Errorf("--detach %s: the file is there already", o.detach)
	}
	if info, err := os.Stat(filepath.Dir(o.detach)); err != nil || !info.IsDir() {
		return fmt.Errorf("--detach %s: there is no folder %s", o.detach, filepath.Dir(o.detach))
	}
	return nil
}

// detach writes the job files that were asked for, of jobs that have ended.
func (t *training) detach(view *trainView) error {
	var all []error
	for i, j := range t.jobs {
		if j.detach == "" || j.job == nil || j.job.Err() != nil {
			continue
		}
		err := createFile(j.detach, func(w io.Writer) error { return train.Pack(j.out, w) })
		if err != nil {
			all = append(all, j.wrap(fmt.Errorf("--detach: %w", err)))
			continue
		}
		view.detached(i)
	}
	return errors.Join(all...)
}

// unsaved marks what must be told of an interrupted run.
func unsaved(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return unsavedError{err}
	}
	return nil
}

// createFile writes a file that is not there yet; on an error it is not there
// afterwards.
func createFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
