package vk

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTimingsTellEveryOperation(t *testing.T) {
	d := testDevice(t)
	kernel, a, b := nothing(t, d), buffer(t, d, Local, 1<<20), buffer(t, d, Local, 1<<20)
	rec := d.NewRecorder(true)
	for range 2 { // a recorder is used again
		rec.Reset()
		rec.Fill(a, 1)
		rec.Dispatch(Dispatch{Pipeline: kernel, Groups: [3]uint32{1, 1, 1}, Work: Work{Bytes: 3, Flops: 5}})
		rec.Copy(b, 0, a, 0, 1<<20)
		require.NoError(t, rec.Run())
		timings, err := rec.Timings()
		require.NoError(t, err)
		require.Len(t, timings, 3)
		for i, name := range []string{"fill", "nothing", "copy"} {
			assert.Equal(t, name, timings[i].Name)
			assert.GreaterOrEqual(t, timings[i].Time.Nanoseconds(), int64(0))
		}
		assert.Positive(t, timings[0].Time+timings[2].Time, "two megabytes take time")
		assert.Equal(t, Work{Bytes: 3, Flops: 5}, timings[1].Work)
		assert.Equal(t, Work{Bytes: 2 << 20}, timings[2].Work)
	}
}

func TestTimingsOfAnUntimedStepAreNone(t *testing.T) {
	d := testDevice(t)
	rec := d.NewRecorder(false)
	rec.Fill(buffer(t, d, Local, 64), 1)
	require.NoError(t, rec.Run())
	timings, err := rec.Timings()
	assert.NoError(t, err)
	assert.Empty(t, timings)
}

func TestTimingsEndWhereTheQueriesDo(t *testing.T) {
	d := testDevice(t)
	kernel, rec := nothing(t, d), d.NewRecorder(true)
	for range maxQueries + 10 {
		rec.Dispatch(Dispatch{Pipeline: kernel, Groups: [3]uint32{1, 1, 1}})
	}
	require.NoError(t, rec.Run())
	timings, err := rec.Timings()
	assert.NoError(t, err)
	assert.Len(t, timings, maxQueries-1)
}
