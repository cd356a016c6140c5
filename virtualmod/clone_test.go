package virtualmod

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine/weights"
)

func TestACloneOutlastsItsFolder(t *testing.T) {
	const model, adapter = "../testdata/golden/tiny/llama/model", "../testdata/golden/tiny/llama/adapters/dora-r8"
	base, err := weights.OpenDir(model)
	require.NoError(t, err)
	defer base.Close()
	config, err := weights.ReadConfig(base)
	require.NoError(t, err)
	folder, err := weights.OpenDir(adapter)
	require.NoError(t, err)
	a, err := ReadPEFT(folder, config)
	require.NoError(t, err)
	clone := a.Clone()
	require.True(t, reflect.DeepEqual(a, clone))
	before := written(t, a)
	require.NoError(t, folder.Close())
	require.True(t, before == written(t, clone))
}

// written is the tensors as they are written.
func written(t *testing.T, a *Adapter) string {
	dir := t.TempDir()
	require.NoError(t, a.Write(dir))
	data, err := os.ReadFile(filepath.Join(dir, peftModelFile))
	require.NoError(t, err)
	return string(data)
}
