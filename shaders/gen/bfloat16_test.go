package main

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// words is a module with the given instructions.
func words(instructions ...uint32) []byte {
	var b []byte
	for _, w := range append([]uint32{0x07230203, 0x10500, 0, 9, 0}, instructions...) {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func TestFloat16BecomesBFloat16(t *testing.T) {
	got, err := toBFloat16(words(
		2<<16|17, 1, // OpCapability Shader
		2<<16|17, 9, // OpCapability Float16
		3<<16|14, 0, 1, // OpMemoryModel
		3<<16|22, 3, 32, // OpTypeFloat 32
		3<<16|22, 4, 16, // OpTypeFloat 16
	))
	require.NoError(t, err)
	name := []uint32{0x5f565053, 0x5f52484b, 0x6f6c6662, 0x36317461, 0} // "SPV_KHR_bfloat16"
	want := append([]uint32{2<<16 | 17, 1, 2<<16 | 17, 5116, 2<<16 | 17, 5118, 6<<16 | 10}, name...)
	want = append(want, 3<<16|14, 0, 1, 3<<16|22, 3, 32, 4<<16|22, 4, 16, 0)
	assert.Equal(t, words(want...), got)
}

func TestModulesThatCannotBecomeBFloat16(t *testing.T) {
	for want, module := range map[string][]byte{
		"a module of 3 bytes":                 {1, 2, 3},
		"no 16-bit float type":                words(2<<16|17, 1, 3<<16|14, 0, 1),
		"a constant of the 16-bit float type": words(3<<16|14, 0, 1, 3<<16|22, 4, 16, 4<<16|43, 4, 5, 0x3c00),
		"an instruction of 0 words at word 5": words(22),
	} {
		_, err := toBFloat16(module)
		assert.ErrorContains(t, err, want)
	}
}
