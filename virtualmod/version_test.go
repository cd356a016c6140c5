package virtualmod

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/weights"
)

func TestAttachLeavesTheDeviceAlone(t *testing.T) {
	b := openBench(t, "f32", 2)
	before := b.engine.Used()
	b.attachGolden("a", "all-r16")
	assert.Equal(t, before, b.engine.Used())
	assert.Equal(t, State{Number: 1, Version: 1}, b.state("a"))
	_, ok := b.TryAcquire("a")
	assert.False(t, ok, "it is not on the device")
	require.NoError(t, b.Prefetch("a"))
	assert.Greater(t, b.engine.Used(), before)
	l, ok := b.TryAcquire("a")
	require.True(t, ok)
	assert.Equal(t, State{Number: 1, Version: 1, Resident: true, Leases: 1}, b.state("a"))
	assert.EqualValues(t, 1, l.Version())
}

// What float16 does not hold is refused when it is attached, not at the first
// request.
func TestAttachChecksTheNumbers(t *testing.T) {
	a := openBench(t, "f32", 1).random(1)
	weights.Convert(a.Modules[3].B.Data[:4], weights.F32, []byte{0, 0, 128, 71}, weights.F32) // 65536
	dir := t.TempDir()
	require.NoError(t, a.Write(dir))
	for dtype, message := range map[string]string{
		"f32": "", "bf16": "", "f16": "tensor base_model.model.model.layers.0.self_attn.o_proj.lora_B.weight of " + dir +
			"/adapter_model.safetensors holds values beyond float16's range (65504): use --dtype bf16 or f32",
	} {
		b := openBench(t, dtype, 1)
		folder, err := weights.OpenDir(dir)
		require.NoError(t, err)
		err = b.Attach("a", folder)
		require.NoError(t, folder.Close())
		if message == "" {
			require.NoError(t, err)
			require.NoError(t, b.Prefetch("a"))
			continue
		}
		require.EqualError(t, err, "attach adapter a: "+message)
		assert.Empty(t, b.Names())
	}
}

func TestBaseModelsLease(t *testing.T) {
	b := openBench(t, "f32", 1)
	b.attachGolden("a", "all-r16")
	l := b.acquire("")
	assert.EqualValues(t, 0, l.Version())
	assert.Equal(t, -1, l.Slot())
	other, ok := b.TryAcquire("")
	require.True(t, ok)
	assert.Equal(t, b.logits(l), b.logits(other))
	assert.NotEqual(t, b.logits(l), b.of("a"))
	l.Release()
	l.Release()
}

// Requests keep the version they began with through publishing, rolling back and
// detaching.
func TestLeasesKeepTheirVersion(t *testing.T) {
	for _, dtype := range []string{"f32", "f16"} {
		b := openBench(t, dtype, 5)
		job := b.train(1)
		b.of("") // the first step takes memory for good
		before := b.engine.Used()
		require.NoError(t, job.Publish("a"))
		first := b.acquire("a")
		one := b.logits(first)
		b.learn(job, 1.5)
		assert.Equal(t, one, b.logits(first), "training changes nothing that is served")
		require.NoError(t, job.Publish("a"))
		second := b.acquire("a")
		two := b.logits(second)
		require.NotEqual(t, one, two)
		assert.Equal(t, one, b.logits(first))
		assert.Greater(t, second.Version(), first.Version())
		assert.Equal(t, State{Number: 2, Version: 2, Older: 1, Resident: true, Leases: 1}, b.state("a"))

		require.NoError(t, b.Rollback("a"))
		third := b.acquire("a")
		assert.Equal(t, first.Version(), third.Version())
		assert.Equal(t, [][]float32{one, two, one}, [][]float32{b.logits(first), b.logits(second), b.logits(third)})

		require.NoError(t, b.Detach("a"))
		_, err := b.Acquire("a")
		require.ErrorIs(t, err, ErrUnknownAdapter)
		assert.Equal(t, [][]float32{one, two, one}, [][]float32{b.logits(first), b.logits(second), b.logits(third)})
		held := b.engine.Used()
		first.Release()
		second.Release()
		assert.Equal(t, held, b.engine.Used(), "between two steps, not by Release")
		require.NoError(t, b.Sweep())
		assert.Equal(t, one, b.logits(third))
		assert.Less(t, b.engine.Used(), held)
		third.Release()
		require.NoError(t, b.Sweep())
		assert.Equal(t, before, b.engine.Used())
	}
}

func TestRollbackGoesThroughTheKeptVersions(t *testing.T) {
	b := openBench(t, "f32", 2)
	b.attachRandom("a", 3)
	versions := [][]float32{b.of("a")}
	job := b.train(4)
	for range KeptVersions + 1 {
		b.learn(job, 1.25)
		require.NoError(t, job.Publish("a"))
		versions = append(versions, b.of("a"))
	}
	for i := range KeptVersions {
		assert.Equal(t, State{Number: KeptVersions + 2 - i, Version: uint64(KeptVersions + 2 - i), Older: KeptVersions - i, Resident: true}, b.state("a"))
		require.NoError(t, b.Rollback("a"))
		assert.Equal(t, versions[len(versions)-2-i], b.of("a"), "%d back", i+1)
	}
	require.EqualError(t, b.Rollback("a"), "roll back adapter a: no older version: there is only version 2")
	require.ErrorIs(t, b.Rollback("a"), ErrNoOlderVersion)
	require.NoError(t, job.Publish("a"))
	assert.Equal(t, State{Number: KeptVersions + 3, Version: KeptVersions + 3, Older: 1, Resident: true}, b.state("a"), "no number twice")
}

// A version that is current no longer takes nothing of the device once it is idle.
func TestOldVersionsLeaveTheDevice(t *testing.T) {
	b := openBench(t, "f32", 4)
	job := b.train(1)
	require.NoError(t, job.Publish("a"))
	one := b.engine.Used()
	for range 5 {
		require.NoError(t, job.Publish("a"))
		require.NoError(t, b.Sweep())
		require.Equal(t, one, b.engine.Used())
	}
}

func TestUnknownAndTakenNames(t *testing.T) {
	b := openBench(t, "f32", 2)
	for _, err := range []error{b.Prefetch("a"), b.Rollback("a"), b.Detach("a")} {
		require.ErrorIs(t, err, ErrUnknownAdapter)
	}
	b.attachRandom("a", 1)
	_, err := b.State("b")
	require.EqualError(t, err, `unknown adapter "b": known are a`)
	require.EqualError(t, b.Attach("a", nil), "attach adapter a: the name is taken")
	require.EqualError(t, b.Attach("", nil), "attach adapter : the name is empty")
	require.EqualError(t, b.train(1).Publish(""), "publish adapter : the name is empty")
	for _, name := range []string{"c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w"} {
		b.push(name, Info{}, &Adapter{})
	}
	_, err = b.Acquire("b")
	require.EqualError(t, err, `unknown adapter "b": known are a, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u and 2 more`)
}

// What may be called from any goroutine is called from several beside one that
// works between steps.
func TestGoroutines(t *testing.T) {
	b := openBench(t, "f32", 2)
	names := []string{"a", "b", "c"}
	for i, name := range names {
		b.attachRandom(name, uint64(i))
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 300 {
				name := names[(i+n)%len(names)]
				if l, ok := b.TryAcquire(name); ok {
					assert.NotZero(t, l.Version())
					l.Release()
				}
				_, err := b.State(name)
				assert.NoError(t, err)
			}
		})
	}
	for n := range 60 {
		l, err := b.Acquire(names[n%len(names)])
		if err != nil {
			require.ErrorIs(t, err, ErrNoFreeSlot)
			continue
		}
		go l.Release()
	}
	all.Wait()
}
