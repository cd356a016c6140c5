package virtualmod

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine/weights"
)

// register registers n copies of a folder's adapter and returns what they take of
// the host's memory.
func (b *bench) register(n int) (heap uint64) {
	b.Helper()
	folder, err := weights.OpenDir(golden + "/llama/adapters/qv-r8")
	require.NoError(b, err)
	before := inUse()
	for i := range n {
		require.NoError(b, b.Attach(fmt.Sprint("adapter ", i), folder))
	}
	heap = inUse() - before
	require.NoError(b, folder.Close())
	return heap
}

func inUse() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// The rest of a module beside its numbers: names, shapes, a place in the list.
const perModule = 1 << 10

// Thousands of adapters are registered: each takes its own bytes of the host's
// memory and none of the device's, and any of them answers.
func TestThousandsOfAdapters(t *testing.T) {
	const n = 2000
	b := openBench(t, "f32", 2)
	b.of("") // the first step takes memory for good
	empty := b.engine.Used()
	b.attachGolden("one", "qv-r8")
	want, info := b.of("one"), b.names["one"].current.info
	used := b.engine.Used()
	heap := b.register(n)
	require.Equal(t, used, b.engine.Used())
	require.LessOrEqual(t, heap, uint64(n*(info.Bytes+perModule*info.Modules)), "%d bytes of numbers each", info.Bytes)
	for range 20 {
		name := fmt.Sprint("adapter ", rand.IntN(n))
		require.Equal(t, want, b.of(name), name)
	}
	require.LessOrEqual(t, b.engine.Used()-empty, uint64(b.engine.Slots())*(used-empty), "there are no more than slots on the device")
}

// BenchmarkRegister registers adapters, and tells what each takes beyond its
// numbers.
func BenchmarkRegister(b *testing.B) {
	base := openBench(b, "f32", 2)
	heap := base.register(b.N)
	info := base.names["adapter 0"].current.info
	b.ReportMetric(float64(info.Bytes), "bytes")
	b.ReportMetric(float64(heap)/float64(b.N)-float64(info.Bytes), "more-bytes")
}
