package train

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPackRefusesWhatIsNoJob(t *testing.T) {
	_, c := packedJob(t)
	checkpoint := func(name string) string {
		return filepath.Join(c.Out, stateDir, strings.TrimSpace(read(t, c.Out, stateDir, latestFile)), name)
	}
	require.NoError(t, os.WriteFile(checkpoint(stateFile), []byte("x"), 0o600))
	require.ErrorContains(t, Pack(c.Out, io.Discard), "optimizer.bin has 1 bytes and the hash sha256:")
	require.NoError(t, os.Remove(checkpoint(modelFile)))
	require.ErrorIs(t, Pack(c.Out, io.Discard), os.ErrNotExist)
	empty := t.TempDir()
	require.EqualError(t, Pack(empty, io.Discard), "pack "+empty+": "+empty+": there is no checkpoint to resume")
	_, err := Inspect(empty)
	require.ErrorIs(t, err, errNoCheckpoint)
}

// A log that was lost does not keep a job from moving.
func TestPackWithoutALog(t *testing.T) {
	_, c := packedJob(t)
	require.NoError(t, os.Remove(filepath.Join(c.Out, logFile)))
	var file bytes.Buffer
	require.NoError(t, Pack(c.Out, &file))
	out := filepath.Join(t.TempDir(), "out")
	require.NoError(t, Unpack(&file, out))
	assert.Empty(t, read(t, out, logFile))
}

func TestInfoTellsWhereAJobIs(t *testing.T) {
	file, c := packedJob(t)
	info, err := Inspect(c.Out)
	require.NoError(t, err)
	same, err := InspectFile(bytes.NewReader(file))
	require.NoError(t, err)
	require.Equal(t, info, same)
	assert.Equal(t, []int{4, 9, 4, 6}, []int{info.Step, info.Steps, info.Updates, info.Batch})
	assert.Greater(t, info.Pending, 0)
	assert.Equal(t, []any{"x.jsonl", 13, "sha256:1", c.Settings}, []any{info.Data.File, info.Data.Sequences, info.Base, info.Settings})
}
