package weights

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// entries lists what is in a folder.
func entries(t *testing.T, dir string) []string {
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func writing(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func TestWriteFileAtomic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.json")
	for _, text := range []string{"one", "", "three\n", string(make([]byte, 3<<20))} {
		require.NoError(t, WriteFileAtomic(path, writing(text)))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, text == string(got))
		assert.Equal(t, []string{"x.json"}, entries(t, dir))
	}
	writeFile(t, dir, "plain", nil) // the mode is that of any file made here
	plain, err := os.Stat(filepath.Join(dir, "plain"))
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, plain.Mode()&0o644, info.Mode()&0o644)
}

func TestWriteFileAtomicInCurrentFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, WriteFileAtomic("x", writing("y")))
	assert.Equal(t, []string{"x"}, entries(t, "."))
}

// While it is written, and if writing fails, the old file is there.
func TestWriteFileAtomicKeepsOld(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	writeFile(t, dir, "x", []byte("old"))
	err := WriteFileAtomic(path, func(w io.Writer) error {
		require.NoError(t, writing(string(make([]byte, 3<<20)))(w))
		old, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, "old", string(old))
		assert.Len(t, entries(t, dir), 2)
		return syscall.EDOM
	})
	require.ErrorIs(t, err, syscall.EDOM)
	assert.ErrorContains(t, err, "write "+path+": ")
	assert.Equal(t, []string{"x"}, entries(t, dir))
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "old", string(old))
}

// A brokenFile is a file whose disk fails at one call.
type brokenFile struct {
	*os.File
	at string
}

func (b brokenFile) Write(p []byte) (int, error) {
	if b.at == "write" {
		return 0, syscall.ENOSPC
	}
	return b.File.Write(p)
}

func (b brokenFile) Sync() error {
	if b.at == "sync" {
		return syscall.EIO
	}
	return b.File.Sync()
}

func (b brokenFile) Close() error {
	if err := b.File.Close(); b.at != "close" {
		return err
	}
	return syscall.EDQUOT
}

func TestReplaceFileErrors(t *testing.T) {
	for at, want := range map[string]error{"write": syscall.ENOSPC, "sync": syscall.EIO, "close": syscall.EDQUOT, "nowhere": nil} {
		dir := t.TempDir()
		writeFile(t, dir, "x", []byte("old"))
		create := func(path string) (syncFile, error) {
			f, err := os.Create(path)
			return brokenFile{f, at}, err
		}
		// A writer that does not look at errors does not hide them either.
		err := replaceFile(filepath.Join(dir, "x"), create, func(w io.Writer) error {
			_, _ = io.WriteString(w, "new")
			return nil
		})
		assert.Equal(t, want, err, at)
		assert.Equal(t, []string{"x"}, entries(t, dir), at)
		got, err := os.ReadFile(filepath.Join(dir, "x"))
		require.NoError(t, err)
		assert.Equal(t, map[bool]string{true: "new", false: "old"}[want == nil], string(got), at)
	}
}

func TestWriteFileAtomicToBadPaths(t *testing.T) {
	dir := t.TempDir()
	require.ErrorIs(t, WriteFileAtomic(filepath.Join(dir, "no", "x"), writing("y")), os.ErrNotExist)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "taken", "by"), 0o755))
	require.Error(t, WriteFileAtomic(filepath.Join(dir, "taken"), writing("y")))
	assert.Equal(t, []string{"taken"}, entries(t, dir))
}

func TestRemoveFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "x", nil)
	require.NoError(t, RemoveFile(filepath.Join(dir, "x")))
	assert.Empty(t, entries(t, dir))
	require.NoError(t, RemoveFile(filepath.Join(dir, "x")), "there is none")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "full", "y"), 0o755))
	assert.ErrorContains(t, RemoveFile(filepath.Join(dir, "full")), "remove: ")
}
