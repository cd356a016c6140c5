package vk

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pattern is a byte that depends on its position.
func pattern(at uint64) byte { return byte(at*131 + at>>8 + 7) }

func writePattern(dst []byte, at uint64) error {
	for i := range dst {
		dst[i] = pattern(at + uint64(i))
	}
	return nil
}

func TestWriteAndReadBack(t *testing.T) {
	const size, offset = 2*stagingSize + 123, 8 // three pieces
	d := testDevice(t)
	for _, unmapped := range []bool{false, true} {
		b := buffer(t, d, Local, size+offset)
		if unmapped { // as on a device whose memory the host cannot reach
			b.Host = nil
		}
		var pieces []uint64
		require.NoError(t, d.Write(b, offset, size, func(dst []byte, at uint64) error {
			pieces = append(pieces, uint64(len(dst)))
			return writePattern(dst, at)
		}))
		assert.Equal(t, []uint64{stagingSize, stagingSize, 123}, pieces)
		got := make([]byte, size)
		require.NoError(t, d.Read(b, offset, got))
		for i := range got {
			if got[i] != pattern(uint64(i)) {
				require.Equal(t, pattern(uint64(i)), got[i], "byte %d, unmapped %v", i, unmapped)
			}
		}
	}
}

func TestWritePassesErrorsOn(t *testing.T) {
	d := testDevice(t)
	b := buffer(t, d, Local, 64)
	unmapped := b
	unmapped.Host = nil
	used := d.Used()
	for _, b := range []Buffer{b, unmapped} {
		broken := errors.New("the file ends early")
		assert.ErrorIs(t, d.Write(b, 0, 64, func([]byte, uint64) error { return broken }), broken)
		assert.ErrorContains(t, d.Write(b, 60, 8, writePattern), "BUG: write 60+8 of a buffer of 64 bytes")
		assert.ErrorContains(t, d.Read(b, 60, make([]byte, 8)), "BUG: read 60+8 of a buffer of 64 bytes")
	}
	assert.Equal(t, used, d.Used(), "no staging buffer is left")
}
