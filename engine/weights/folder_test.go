package weights

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Both kinds of folder behave alike.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "a", []byte("hello"))
	writeFile(t, dir, "empty", nil)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "inner"), 0o755))
	onDisk, err := OpenDir(dir)
	require.NoError(t, err)
	embedded := fstest.MapFS{"a": {Data: []byte("hello")}, "empty": {}, "inner/b": {Data: []byte("b")}}
	for _, folder := range []Folder{onDisk, OpenFS(embedded, "models/x")} {
		data, err := folder.Read("a", 5)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(data))
		for range 2 {
			data, err = folder.Map("a")
			require.NoError(t, err)
			assert.Equal(t, "hello", string(data))
		}
		data, err = folder.Map("empty")
		require.NoError(t, err)
		assert.Empty(t, data)

		_, err = folder.Read("a", 4)
		assert.EqualError(t, err, "read "+folder.Path("a")+": 5 bytes, at most 4 are read")
		_, err = folder.Read("inner", 100)
		assert.EqualError(t, err, "read "+folder.Path("inner")+": not a regular file")
		_, err = folder.Map("missing")
		assert.ErrorIs(t, err, fs.ErrNotExist)
		assert.ErrorContains(t, err, "missing")
		for _, name := range []string{"", ".", "..", "../a", "inner/b", `inner\b`, "/a"} {
			_, err = folder.Map(name)
			assert.ErrorContains(t, err, "is not a plain file name", name)
			_, err = folder.Read(name, 100)
			assert.ErrorContains(t, err, "is not a plain file name", name)
		}
		assert.NoError(t, folder.Close())
		assert.NoError(t, folder.Close())
	}
	assert.Equal(t, filepath.Join("models", "x", "a"), OpenFS(embedded, "models/x").Path("a"))
	assert.Equal(t, dir, onDisk.Path(""))
}

func TestOpenDirErrors(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "file", []byte("x"))
	_, err := OpenDir(filepath.Join(dir, "missing"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = OpenDir(filepath.Join(dir, "file"))
	assert.EqualError(t, err, "open folder "+filepath.Join(dir, "file")+": not a directory")
}

// A model cache keeps files elsewhere and links to them.
func TestFolderFollowsLinks(t *testing.T) {
	store, dir := t.TempDir(), t.TempDir()
	writeFile(t, store, "blob", []byte("linked"))
	if err := os.Symlink(filepath.Join(store, "blob"), filepath.Join(dir, "a")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	data, err := openDir(t, dir).Map("a")
	require.NoError(t, err)
	assert.Equal(t, "linked", string(data))
}
