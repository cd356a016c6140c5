package weights

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/edsrzf/mmap-go"
)

// A Folder is where a model's or an adapter's files are: a directory or an
// embedded file system. File names are plain: no separators, not "." or "..".
// An error of reading a file that does not exist is fs.ErrNotExist. A Folder is
// not for use by several goroutines at once; the bytes it gave out are.
type Folder interface {
	// Path names the file in messages; of "" it is the folder's own.
	Path(file string) string
	// Read returns the whole of a small file, or an error where it has more than
	// limit bytes.
	Read(file string, limit int64) ([]byte, error)
	// Map returns the whole of a large file, read-only: writing to it is a fault.
	// The bytes are valid until Close. The file must not be shortened meanwhile.
	Map(file string) ([]byte, error)
	// Close takes back everything Map gave out. A second Close does nothing.
	Close() error
}

// checkName refuses names that would lead out of the folder: they come from
// files too, not only from this program.
func checkName(file string) error {
	if file == "." || strings.ContainsAny(file, `/\`) || !filepath.IsLocal(file) {
		return fmt.Errorf("%s is not a plain file name", quote(file))
	}
	return nil
}

// quote is s in quotes on one line, shortened where it is long.
func quote(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "..."
	}
	return fmt.Sprintf("%q", s)
}

// checkInfo refuses what is not a regular file, which might block for ever, and
// what is larger than limit bytes.
func checkInfo(path string, info fs.FileInfo, limit int64) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("read %s: not a regular file", path)
	}
	if info.Size() > limit {
		return fmt.Errorf("read %s: %d bytes, at most %d are read", path, info.Size(), limit)
	}
	return nil
}

// noLimit is the limit of files that are mapped, not read: address space.
const noLimit = 1 << 46

type dirFolder struct {
	dir  string
	maps map[string]mmap.MMap
}

// OpenDir is the directory at path; its large files are mapped into memory.
func OpenDir(path string) (Folder, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("open folder %s: not a directory", path)
	}
	return &dirFolder{dir: path, maps: map[string]mmap.MMap{}}, nil
}

func (d *dirFolder) Path(file string) string { return filepath.Join(d.dir, file) }

// stat finds a file's length. It follows links: folders of a model cache hold
// links into a store of their own.
func (d *dirFolder) stat(file string, limit int64) (int64, error) {
	if err := checkName(file); err != nil {
		return 0, fmt.Errorf("read from %s: %w", d.dir, err)
	}
	info, err := os.Stat(d.Path(file))
	if err != nil {
		return 0, fmt.Errorf("read: %w", err)
	}
	return info.Size(), checkInfo(d.Path(file), info, limit)
}

func (d *dirFolder) Read(file string, limit int64) ([]byte, error) {
	if _, err := d.stat(file, limit); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(d.Path(file))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return data, nil
}

func (d *dirFolder) Map(file string) ([]byte, error) {
	if m, ok := d.maps[file]; ok {
		return m, nil
	}
	size, err := d.stat(file, noLimit)
	if err != nil || size == 0 { // an empty file cannot be mapped
		return nil, err
	}
	f, err := os.Open(d.Path(file))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	defer f.Close()
	m, err := mmap.Map(f, mmap.RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", d.Path(file), err)
	}
	d.maps[file] = m
	return m, nil
}

func (d *dirFolder) Close() error {
	var first error
	for file, m := range d.maps {
		if err := m.Unmap(); err != nil && first == nil {
			first = fmt.Errorf("unmap %s: %w", d.Path(file), err)
		}
		delete(d.maps, file)
	}
	return first
}

type fsFolder struct {
	fsys fs.FS
	name string
}

// OpenFS is the root of fsys, called name in messages. Its files are read into
// memory, so it is for small models that are built into the program.
func OpenFS(fsys fs.FS, name string) Folder { return fsFolder{fsys, name} }

func (f fsFolder) Path(file string) string { return filepath.Join(f.name, file) }

func (f fsFolder) Read(file string, limit int64) ([]byte, error) {
	if err := checkName(file); err != nil {
		return nil, fmt.Errorf("read from %s: %w", f.name, err)
	}
	info, err := fs.Stat(f.fsys, file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path(file), err)
	}
	if err := checkInfo(f.Path(file), info, limit); err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(f.fsys, file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path(file), err)
	}
	return data, nil
}

func (f fsFolder) Map(file string) ([]byte, error) { return f.Read(file, 1<<31) }

func (f fsFolder) Close() error { return nil }
