package vk

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// touch is an operation that reads and writes parts of one buffer.
type touch struct{ reads, writes []span }

func reads(offset, size uint64) touch  { return touch{reads: []span{{offset, size}}} }
func writes(offset, size uint64) touch { return touch{writes: []span{{offset, size}}} }

func ranges(b Buffer, spans []span) []Range {
	var out []Range
	for _, s := range spans {
		out = append(out, b.Span(s.offset, s.size))
	}
	return out
}

func TestBarriersStandExactlyWhereRangesConflict(t *testing.T) {
	d := testDevice(t)
	b, kernel := buffer(t, d, Local, 1024), nothing(t, d)
	for name, c := range map[string]struct {
		touches []touch
		want    int
	}{
		"read after read":                {[]touch{reads(0, 64), reads(0, 64)}, 0},
		"read after write":               {[]touch{writes(0, 64), reads(0, 64)}, 1},
		"write after read":               {[]touch{reads(0, 64), writes(0, 64)}, 1},
		"write after write":              {[]touch{writes(0, 64), writes(0, 64)}, 1},
		"neighbours":                     {[]touch{writes(0, 64), writes(64, 64), reads(128, 64)}, 0},
		"an overlap of one byte":         {[]touch{writes(0, 64), reads(63, 64)}, 1},
		"inside":                         {[]touch{writes(0, 1024), reads(500, 4)}, 1},
		"around":                         {[]touch{writes(500, 4), reads(0, 1024)}, 1},
		"in place":                       {[]touch{{reads: []span{{0, 64}}, writes: []span{{0, 64}}}}, 0},
		"in place twice":                 {[]touch{{reads: []span{{0, 64}}, writes: []span{{0, 64}}}, {reads: []span{{0, 64}}, writes: []span{{0, 64}}}}, 1},
		"two readers after a write":      {[]touch{writes(0, 64), reads(0, 64), reads(0, 64)}, 1},
		"an older write than a barrier":  {[]touch{writes(0, 64), writes(64, 64), reads(0, 64), reads(64, 64)}, 1},
		"a write after the two readers":  {[]touch{writes(0, 64), reads(0, 64), reads(0, 64), writes(0, 64)}, 2},
		"a chain":                        {[]touch{writes(0, 64), {reads: []span{{0, 64}}, writes: []span{{64, 64}}}, {reads: []span{{64, 64}}, writes: []span{{128, 64}}}}, 2},
		"the second of several accesses": {[]touch{{writes: []span{{0, 64}, {512, 64}}}, {reads: []span{{128, 64}, {520, 4}}}}, 1},
	} {
		rec := d.NewRecorder(false)
		for _, touch := range c.touches {
			rec.Dispatch(Dispatch{Pipeline: kernel, Groups: [3]uint32{1, 1, 1}, Reads: ranges(b, touch.reads), Writes: ranges(b, touch.writes)})
		}
		assert.Equal(t, Stats{Dispatches: len(c.touches), Barriers: c.want}, rec.Stats(), name)
		assert.NoError(t, rec.Run(), name)
	}
}

func TestCopiesAndFillsAreOrdered(t *testing.T) {
	d := testDevice(t)
	a, b, host := buffer(t, d, Local, 64), buffer(t, d, Local, 64), buffer(t, d, Download, 64)
	rec := d.NewRecorder(false)
	rec.Fill(a, 0x01020304)
	rec.Fill(b, 7)
	rec.Copy(b, 16, a, 32, 20)
	rec.Copy(host, 0, b, 0, 64)
	rec.Copy(host, 0, b, 0, 0) // of nothing: not recorded
	assert.Equal(t, Stats{Barriers: 2, Copies: 4}, rec.Stats())
	require.NoError(t, rec.Run())
	want := make([]uint32, 16)
	for i := range want {
		want[i] = 7
		if i >= 4 && i < 9 {
			want[i] = 0x01020304
		}
	}
	assert.Equal(t, Bytes(want), host.Host)
}

func TestRecorderIsEmptyAfterReset(t *testing.T) {
	d := testDevice(t)
	a, kernel := buffer(t, d, Local, 64), nothing(t, d)
	rec := d.NewRecorder(false)
	assert.NoError(t, rec.Run(), "an empty step")
	rec.Fill(a, 1)
	rec.Dispatch(Dispatch{Pipeline: kernel, Groups: [3]uint32{1 << 20, 1, 1}})
	assert.Error(t, rec.Run())
	rec.Reset()
	assert.Zero(t, rec.Stats())
	rec.Fill(a, 2)
	assert.Zero(t, rec.Stats().Barriers, "what was recorded before is forgotten")
	assert.NoError(t, rec.Run())
}

func TestDispatchRefusesWhatNoDeviceTakes(t *testing.T) {
	d := testDevice(t)
	kernel := nothing(t, d)
	for want, dispatch := range map[string]Dispatch{
		"BUG: nothing: 132 bytes of push constants":                    {Groups: [3]uint32{1, 1, 1}, Push: make([]byte, 132)},
		"BUG: nothing: 3 bytes of push constants":                      {Groups: [3]uint32{1, 1, 1}, Push: make([]byte, 3)},
		"nothing: [1 65536 1] workgroups, but a dimension takes 65535": {Groups: [3]uint32{1, 65536, 1}},
	} {
		rec := d.NewRecorder(false)
		dispatch.Pipeline = kernel
		rec.Dispatch(dispatch)
		assert.EqualError(t, rec.Run(), want)
	}
	rec := d.NewRecorder(false)
	rec.Dispatch(Dispatch{Pipeline: kernel, Groups: [3]uint32{4, 0, 1}})
	assert.Zero(t, rec.Stats(), "an empty dispatch")
	for _, size := range []int{4, 8, 12, 128} {
		rec.Dispatch(Dispatch{Pipeline: kernel, Groups: [3]uint32{1, 1, 1}, Push: make([]byte, size)})
	}
	assert.NoError(t, rec.Run())
}

// verify judges operations without trusting the recorder's own barriers.
func TestVerifyFindsAMissingBarrier(t *testing.T) {
	d := testDevice(t)
	b := buffer(t, d, Local, 256)
	write := recorded{name: "fill", accesses: []access{{b.Span(0, 64), true}}}
	read := recorded{name: "sum", accesses: []access{{b.Span(32, 64), false}}}
	apart := recorded{name: "else", accesses: []access{{b.Span(64, 64), true}}}
	guarded := read
	guarded.barrier = true

	verify := func(ops ...recorded) error { return (&Recorder{device: d, ops: ops}).verify() }
	assert.NoError(t, verify(write, apart))
	assert.NoError(t, verify(write, guarded))
	assert.NoError(t, verify(read, read))
	assert.ErrorContains(t, verify(write, read), "BUG: sum (operation 1): read of 64 bytes at ")
	assert.ErrorContains(t, verify(write, read), " conflicts with write of 64 bytes at ")
	assert.ErrorContains(t, verify(write, write), "without a barrier")
	assert.ErrorContains(t, verify(read, apart), "without a barrier")
	assert.ErrorContains(t, verify(apart, guarded, write), "BUG: fill (operation 2)")
}

func TestVerifyFindsMemoryThatIsNobodys(t *testing.T) {
	d := testDevice(t)
	kernel, b := nothing(t, d), buffer(t, d, Local, 256)
	freed, err := d.Alloc(Local, 256)
	require.NoError(t, err)
	d.Free(freed)
	for name, r := range map[string]Range{
		"freed":          freed.All(),
		"behind the end": {b.Address + 128, 512},
		"null":           {0, 4},
	} {
		rec := d.NewRecorder(false)
		rec.Dispatch(Dispatch{Pipeline: kernel, Groups: [3]uint32{1, 1, 1}, Reads: []Range{r}})
		assert.ErrorContains(t, rec.Run(), "BUG: nothing (operation 0): read of ", name)
	}
}
