package vk

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBlockTakesTheFirstSpanThatIsLargeEnough(t *testing.T) {
	b := block{size: 100, free: []span{{0, 10}, {20, 30}, {60, 40}}}
	offset, ok := b.take(20)
	assert.True(t, ok)
	assert.EqualValues(t, 20, offset)
	assert.Equal(t, []span{{0, 10}, {40, 10}, {60, 40}}, b.free)
	offset, ok = b.take(10)
	assert.True(t, ok)
	assert.EqualValues(t, 0, offset)
	assert.Equal(t, []span{{40, 10}, {60, 40}}, b.free)
	_, ok = b.take(41)
	assert.False(t, ok)
}

func TestBlockJoinsNeighbours(t *testing.T) {
	b := block{size: 100}
	for _, c := range []struct {
		put  span
		want []span
	}{
		{span{20, 10}, []span{{20, 10}}},
		{span{40, 10}, []span{{20, 10}, {40, 10}}},
		{span{0, 5}, []span{{0, 5}, {20, 10}, {40, 10}}},
		{span{30, 10}, []span{{0, 5}, {20, 30}}},
		{span{50, 50}, []span{{0, 5}, {20, 80}}},
		{span{5, 15}, []span{{0, 100}}},
	} {
		b.put(c.put)
		assert.Equal(t, c.want, b.free)
	}
}

// Whatever is taken and put back in whatever order, taken spans never overlap
// and in the end the block is whole.
func TestBlockUnderRandomUse(t *testing.T) {
	const size = 1 << 12
	r := rand.New(rand.NewPCG(1, 2))
	b, owner, taken := block{size: size, free: []span{{0, size}}}, make([]int, size), map[int]span{}
	for i := 1; i < 5000; i++ {
		if n := 1 + r.Uint64N(200); r.IntN(2) == 0 {
			offset, ok := b.take(n)
			if !ok {
				continue
			}
			taken[i] = span{offset, n}
			for j := offset; j < offset+n; j++ {
				require.Zero(t, owner[j], "byte %d is taken twice", j)
				owner[j] = i
			}
			continue
		}
		for id, s := range taken { // any one
			b.put(s)
			clear(owner[s.offset : s.offset+s.size])
			delete(taken, id)
			break
		}
	}
	for _, s := range taken {
		b.put(s)
	}
	assert.Equal(t, []span{{0, size}}, b.free)
}

func TestAllocAccountsForEveryBuffer(t *testing.T) {
	d := testDevice(t)
	require.Zero(t, d.Used())
	require.Zero(t, d.Held())
	first, err := d.Alloc(Local, 1)
	require.NoError(t, err)
	second, err := d.Alloc(Local, 257)
	require.NoError(t, err)
	third, err := d.Alloc(Local, 256)
	require.NoError(t, err)
	assert.EqualValues(t, 256+512+256, d.Used())
	assert.EqualValues(t, blockSize, d.Held())
	for _, b := range []Buffer{first, second, third} {
		assert.Zero(t, b.Address%alignment)
		assert.Equal(t, Range{b.Address, b.Size}, b.All())
	}
	assert.Equal(t, first.Address+256, second.Address)

	d.Free(second)
	again, err := d.Alloc(Local, 512)
	require.NoError(t, err)
	assert.Equal(t, second.Address, again.Address, "the gap is filled")
	d.Free(first)
	d.Free(third)
	assert.EqualValues(t, 512, d.Used())
	d.Free(again)
	assert.Zero(t, d.Used())
	assert.Zero(t, d.Held(), "an empty block goes back to the driver")
}

func TestAllocOfMoreThanABlock(t *testing.T) {
	d := testDevice(t)
	small, large := buffer(t, d, Local, 100), buffer(t, d, Local, blockSize+1)
	assert.EqualValues(t, blockSize+blockSize+alignment, d.Held())
	assert.NotEqual(t, small.block, large.block)
}

func TestAllocKeepsKindsApart(t *testing.T) {
	d := testDevice(t)
	for _, kind := range []Kind{Upload, Download} {
		b := buffer(t, d, kind, 16)
		assert.Len(t, b.Host, 16, "the host reaches kind %d", kind)
		assert.Equal(t, kind, b.block.kind)
	}
	assert.EqualValues(t, 2*blockSize, d.Held())
}

func TestOneEmptyBlockOfTheHostStays(t *testing.T) {
	d := testDevice(t)
	first := buffer(t, d, Upload, blockSize)
	more, err := d.Alloc(Upload, blockSize)
	require.NoError(t, err)
	d.Free(more)
	assert.EqualValues(t, blockSize, d.Held(), "another one goes back")
	again := buffer(t, d, Local, 64)
	again.Host = nil
	require.NoError(t, d.Write(again, 0, 64, writePattern))
	assert.NotEqual(t, first.block, again.block)

	alone, err := d.Alloc(Download, 64)
	require.NoError(t, err)
	held := d.Held()
	d.Free(alone)
	assert.Equal(t, held, d.Held())
	assert.Zero(t, alone.block.free[0].offset)
}

func TestAllocWithoutRoomTellsTheNumbers(t *testing.T) {
	d := testDevice(t)
	buffer(t, d, Local, 1000)
	_, err := d.Alloc(Local, 1<<50)
	assert.ErrorIs(t, err, ErrOutOfMemory)
	assert.ErrorContains(t, err, "allocate 1125899906842624 bytes (1024 in use, device has ")
	assert.ErrorContains(t, err, "out of device memory")
	assert.EqualValues(t, 1024, d.Used(), "a failure takes nothing")
	assert.EqualValues(t, blockSize, d.Held())

	_, err = d.Alloc(Local, 0)
	assert.ErrorContains(t, err, "BUG: allocate a buffer of 0 bytes")
}

func TestCheckingPoisonsMemory(t *testing.T) {
	d := testDevice(t)
	keep := buffer(t, d, Upload, 1) // so that the block stays
	b, err := d.Alloc(Upload, 64)
	require.NoError(t, err)
	poisoned := bytes.Repeat([]byte{0xff}, 64)
	assert.Equal(t, poisoned, b.Host)
	clear(b.Host)
	d.Free(b)
	assert.Equal(t, poisoned, b.Host, "freed memory")
	assert.Len(t, keep.Host, 1)
}

func TestCloseReportsLeaks(t *testing.T) {
	d, closeInstance := openDevice(t)
	defer closeInstance()
	_, err := d.Alloc(Local, 300)
	require.NoError(t, err)
	assert.ErrorContains(t, d.Close(), "1 buffers of 512 bytes still allocated")
}

func TestSpanBeyondABufferIsABug(t *testing.T) {
	d := testDevice(t)
	b := buffer(t, d, Local, 100)
	assert.Equal(t, Range{b.Address + 10, 90}, b.Span(10, 90))
	assert.PanicsWithValue(t, "BUG: span 10+91 of a buffer of 100 bytes", func() { b.Span(10, 91) })
}
