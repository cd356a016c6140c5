package vk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// compileOnce opens a device, makes a pipeline and closes the device.
func compileOnce(t *testing.T) error {
	d, closeInstance := openDevice(t)
	defer closeInstance()
	nothing(t, d)
	return d.Close()
}

func cacheFiles(t *testing.T, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "loquetier", "*"))
	require.NoError(t, err)
	return files
}

func TestCompiledPipelinesAreKept(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	require.NoError(t, compileOnce(t))
	files := cacheFiles(t, dir)
	require.Len(t, files, 1)
	assert.Regexp(t, `/pipelines-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+\.bin$`, files[0])
	before, err := os.ReadFile(files[0])
	require.NoError(t, err)
	assert.NotEmpty(t, before)
	require.NoError(t, compileOnce(t))
	assert.Equal(t, files, cacheFiles(t, dir), "no temporary file is left")
}

func TestDamagedCacheIsIgnored(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	require.NoError(t, compileOnce(t))
	file := cacheFiles(t, dir)[0]
	for name, data := range map[string][]byte{
		"empty": {}, "short": {1, 2, 3}, "zeros": make([]byte, 4096), "ones": []byte("\xff\xff\xff\xff\xff\xff\xff\xff and so on, and so on, and so on"),
	} {
		require.NoError(t, os.WriteFile(file, data, 0o600))
		assert.NoError(t, compileOnce(t), name)
	}
}

func TestCacheBeyondTheLimitIsNotRead(t *testing.T) {
	c := cacheFile{path: filepath.Join(t.TempDir(), "cache.bin")}
	require.NoError(t, c.store([]byte("compiled")))
	assert.Equal(t, "compiled", string(c.load()))
	require.NoError(t, os.Truncate(c.path, maxCache+1))
	assert.Nil(t, c.load())
}

func TestCacheThatCannotBeWrittenIsReported(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	t.Setenv("XDG_CACHE_HOME", file) // a file where a folder should be
	assert.ErrorContains(t, compileOnce(t), "keep compiled pipelines: ")
}

func TestWithoutACacheFolderNothingIsKept(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	assert.Equal(t, cacheFile{}, newCacheFile("key"))
	assert.NoError(t, compileOnce(t))
}
