package train

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"loquetier/engine/weights"
)

// disk is everything a job does to its folder, so that tests can end it at any
// operation.
type disk interface {
	MakeDir(dir string) error                             // with those above it; it may be there
	Write(path string, write func(io.Writer) error) error // a new file or the whole of an old one, synced
	Rename(from, to string) error                         // synced
	RemoveAll(path string) error                          // it may be gone; synced
	Sync(f *os.File) error
}

// osDisk is the real one.
type osDisk struct{}

func (osDisk) MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	return weights.SyncDir(filepath.Dir(dir))
}

func (osDisk) Write(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	if err = write(b); err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (osDisk) Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return weights.SyncDir(filepath.Dir(to))
}

func (osDisk) RemoveAll(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return weights.SyncDir(filepath.Dir(path))
}

func (osDisk) Sync(f *os.File) error { return f.Sync() }

// replace writes a file so that path is at any time the whole of the old or
// of the new one. What an earlier attempt left is overwritten.
func replace(d disk, path string, write func(io.Writer) error) error {
	temporary := path + ".tmp"
	err := d.Write(temporary, write)
	if err == nil {
		err = d.Rename(temporary, path)
	}
	if err != nil {
		err = discard(d, temporary, err)
	}
	return err
}

// discard removes what was not completed: where the disk is full, others need
// the room.
func discard(d disk, path string, why error) error {
	if err := d.RemoveAll(path); err != nil {
		return fmt.Errorf("%w; and %w", why, err)
	}
	return why
}

// whole writes data.
func whole(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// readFile reads a small file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("read %s: more than %d bytes", path, limit)
	}
	return data, nil
}

// isEmpty tells whether a folder has nothing in it, or is not there.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return len(entries) == 0, err
}
