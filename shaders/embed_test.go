package shaders

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryKernelIsEmbedded(t *testing.T) {
	const magic = 0x07230203 // SPIR-V specification, section 2.3
	for _, k := range Kernels() {
		code, err := SPIRV(k.Name())
		require.NoError(t, err)
		require.Greater(t, len(code), 20, k.Name())
		assert.Zero(t, len(code)%4, k.Name())
		assert.EqualValues(t, magic, binary.LittleEndian.Uint32(code), k.Name())
	}
}

func TestSPIRVNamesAModuleThatIsNotThere(t *testing.T) {
	_, err := SPIRV("no-such-kernel")
	assert.ErrorContains(t, err, `"no-such-kernel" is not embedded`)
}
