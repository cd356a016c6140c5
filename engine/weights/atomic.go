package weights

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// WriteFileAtomic writes a file so that path names either what was there before
// or the whole of what write writes, whatever happens meanwhile: the bytes go to
// a temporary file in the same folder, which is synced to the disk and takes
// path's place. Where it returns an error, of write, of a full disk, or of
// closing, path is as it was and the temporary file is removed; only if the last
// step, syncing the folder, fails, path is new already. A crash may leave a
// temporary file, named .<file>.<number>.tmp. A link at path is replaced, not
// followed. The folder must exist.
func WriteFileAtomic(path string, write func(io.Writer) error) error {
	if err := replaceFile(path, createFile, write); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// RemoveFile removes a file, if there is one, and syncs its folder: after it
// returns, a crash does not bring the file back.
func RemoveFile(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// A syncFile is what writing needs of a file, so that tests can let it fail.
type syncFile interface {
	io.Writer
	Sync() error
	Close() error
}

// createFile leaves the file's mode to the umask, unlike os.CreateTemp.
func createFile(path string) (syncFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

func replaceFile(path string, create func(path string) (syncFile, error), write func(io.Writer) error) error {
	dir, file := filepath.Split(path)
	temporary := filepath.Join(dir, fmt.Sprintf(".%s.%016x.tmp", file, rand.Uint64()))
	f, err := create(temporary)
	if err != nil {
		return err
	}
	if err = writeSynced(f, write); err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		return SyncDir(filepath.Dir(path))
	}
	if left := os.Remove(temporary); left != nil {
		return fmt.Errorf("%w; and its temporary file stays: %w", err, left)
	}
	return err
}

// writeSynced writes, syncs and closes f, and returns the first error.
func writeSynced(f syncFile, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(f, 1<<20)
	err := write(b)
	if err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// SyncDir makes a changed name in a folder last. Windows has no such call, nor
// have some network file systems; there it is left to the system.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	if closed := d.Close(); err == nil {
		err = closed
	}
	return err
}
