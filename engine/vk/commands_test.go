package vk

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// record makes commands of what do records; they are freed when the test ends.
func record(t *testing.T, d *Device, do func(*Recorder)) *Commands {
	t.Helper()
	c, err := d.NewCommands()
	require.NoError(t, err)
	rec := d.NewRecorder(false)
	do(rec)
	require.NoError(t, rec.Record(c))
	return c
}

// Nothing is waited for between submissions: each sees what the ones before wrote.
func TestSubmissionsRunInOrder(t *testing.T) {
	d := testDevice(t)
	const size = 1 << 20
	a, b, host := buffer(t, d, Local, size), buffer(t, d, Local, size), buffer(t, d, Download, size)
	for word := range uint32(5) {
		chain := []*Commands{
			record(t, d, func(rec *Recorder) { rec.Fill(a, word) }),
			record(t, d, func(rec *Recorder) { rec.Copy(b, 0, a, 0, size) }),
			record(t, d, func(rec *Recorder) { rec.Copy(host, 0, b, 0, size) }),
		}
		for _, c := range chain {
			require.NoError(t, c.Submit())
		}
		require.NoError(t, chain[2].Wait())
		assert.Equal(t, word, binary.NativeEndian.Uint32(host.Host[size-4:]))
		for _, c := range chain {
			c.Free()
		}
	}
}

func TestCommandsRunEachTimeTheyAreSubmitted(t *testing.T) {
	d := testDevice(t)
	in, out := buffer(t, d, Upload, 4), buffer(t, d, Download, 4)
	c := record(t, d, func(rec *Recorder) { rec.Copy(out, 0, in, 0, 4) })
	assert.NoError(t, c.Wait(), "nothing was submitted")
	for word := range uint32(3) {
		binary.NativeEndian.PutUint32(in.Host, word)
		require.NoError(t, c.Submit())
		require.NoError(t, c.Wait())
		assert.Equal(t, word, binary.NativeEndian.Uint32(out.Host))
	}
	rec := d.NewRecorder(false)
	rec.Fill(out, 7)
	require.NoError(t, c.Submit())
	require.NoError(t, rec.Record(c), "recording waits for what runs")
	require.NoError(t, c.Submit())
	require.NoError(t, c.Wait())
	assert.Equal(t, uint32(7), binary.NativeEndian.Uint32(out.Host))
}

func TestCommandsRefuseWhatCannotBeRecorded(t *testing.T) {
	d := testDevice(t)
	c, err := d.NewCommands()
	require.NoError(t, err)
	rec := d.NewRecorder(false)
	rec.Dispatch(Dispatch{Pipeline: nothing(t, d), Groups: [3]uint32{1 << 20, 1, 1}})
	assert.Error(t, rec.Record(c))
}
