package vk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// openOnly makes the test binary open Vulkan, print the error and whether it is
// ErrNoDevice, and end: see TestOpenWithoutADriver.
const openOnly = "LOQUETIER_TEST_OPEN"

func TestMain(m *testing.M) {
	if os.Getenv(openOnly) != "" {
		in, err := Open()
		if err == nil {
			_, err = in.Devices()
		}
		fmt.Println(err, errors.Is(err, ErrNoDevice))
		os.Exit(0)
	}
	os.Setenv("LOQUETIER_CHECK", "1") // poison memory, verify barriers
	os.Exit(run(m))
}

// run keeps what the tests cache out of the user's folder.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "loquetier-vk-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Setenv("XDG_CACHE_HOME", dir)
	return m.Run()
}

// openDevice opens the best device. The caller closes it.
func openDevice(t *testing.T) (device *Device, close func()) {
	t.Helper()
	in, err := Open()
	require.NoError(t, err)
	infos, err := in.Devices()
	require.NoError(t, err)
	info, err := Select(infos, os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(t, err)
	d, err := in.OpenDevice(info)
	require.NoError(t, err)
	return d, in.Close
}

// testDevice is an open device that is closed when the test ends, and must be
// without buffers then.
func testDevice(t *testing.T) *Device {
	t.Helper()
	d, closeInstance := openDevice(t)
	t.Cleanup(func() {
		require.NoError(t, d.Close())
		closeInstance()
	})
	return d
}

// buffer allocates one that is freed when the test ends.
func buffer(t *testing.T, d *Device, kind Kind, size uint64) Buffer {
	t.Helper()
	b, err := d.Alloc(kind, size)
	require.NoError(t, err)
	t.Cleanup(func() { d.Free(b) })
	return b
}

// nothing is a kernel that does nothing, in SPIR-V.
func nothing(t *testing.T, d *Device) *Pipeline {
	t.Helper()
	op := func(code uint32, operands ...uint32) []uint32 {
		return append([]uint32{uint32(len(operands)+1)<<16 | code}, operands...)
	}
	const void, function, main, label = 1, 2, 3, 4
	words := []uint32{0x07230203, 0x00010500, 0, 5, 0}
	for _, instruction := range [][]uint32{
		op(17, 1),                      // OpCapability Shader
		op(14, 0, 1),                   // OpMemoryModel Logical GLSL450
		op(15, 5, main, 0x6e69616d, 0), // OpEntryPoint GLCompute "main"
		op(16, main, 17, 1, 1, 1),      // OpExecutionMode LocalSize
		op(19, void), op(33, function, void),
		op(54, void, main, 0, function), op(248, label), op(253), op(56),
	} {
		words = append(words, instruction...)
	}
	var code []byte
	for _, w := range words {
		code = binary.NativeEndian.AppendUint32(code, w)
	}
	p, err := d.NewPipeline("nothing", code, nil)
	require.NoError(t, err)
	return p
}
