package engine_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/virtualmod"
)

const stories = "../models/stories/"

var storyAdapters = []string{"shakespeare", "math", "upper"}

// openStories loads the real small model with its adapters.
func openStories(t testing.TB, config engine.Config) (*engine.Engine, *virtualmod.Base) {
	t.Helper()
	device, err := engine.OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, device.Close()) })
	e := loadModel(t, device, stories+"base", config)
	base := virtualmod.NewBase(e)
	for _, name := range storyAdapters {
		adapter, err := weights.OpenDir(stories + name)
		require.NoError(t, err)
		require.NoError(t, base.Attach(name, adapter))
		require.NoError(t, adapter.Close())
	}
	return e, base
}

// decodeStep is a step of single rows at a position: adapters[i] names the
// adapter of row i, "" the base.
func decodeStep(t testing.TB, e *engine.Engine, base *virtualmod.Base, position int, adapters []string) *batch.Step {
	var step batch.Step
	each := e.CacheBlocks() / len(adapters)
	for i, name := range adapters {
		slot := batch.Base
		if name != "" {
			lease, err := base.Acquire(name)
			require.NoError(t, err)
			t.Cleanup(lease.Release)
			slot = lease.Slot()
		}
		span := batch.Span{Kind: batch.Decode, Slot: slot, Tokens: []int32{int32(300 + i)}, Position: position}
		for j := range min(each, position/batch.BlockSize+1) {
			span.Blocks = append(span.Blocks, int32(i*each+j))
		}
		span.Wants = []batch.Want{{Target: -1, Sampling: batch.Greedy()}}
		step.Spans = append(step.Spans, span)
	}
	return &step
}

func BenchmarkDecode(b *testing.B) {
	e, base := openStories(b, engine.Config{})
	for _, c := range []struct {
		name     string
		adapters []string
	}{
		{"batch=1/adapters=0", []string{""}},
		{"batch=1/adapters=1", []string{"shakespeare"}},
		{"batch=8/adapters=0", []string{"", "", "", "", "", "", "", ""}},
		{"batch=8/adapters=1", []string{"math", "math", "math", "math", "math", "math", "math", "math"}},
		{"batch=8/adapters=3+base", []string{"", "", "shakespeare", "shakespeare", "math", "math", "upper", "upper"}},
	} {
		b.Run(c.name, func(b *testing.B) { runSteps(b, e, decodeStep(b, e, base, 100, c.adapters)) })
	}
}

func BenchmarkPrefill(b *testing.B) {
	e, base := openStories(b, engine.Config{})
	for _, name := range []string{"", "math"} {
		for _, rows := range []int{32, 256} {
			b.Run(fmt.Sprintf("rows=%d/adapter=%s", rows, name), func(b *testing.B) {
				step := decodeStep(b, e, base, 0, []string{name})
				s := &step.Spans[0]
				for i := range rows {
					s.Tokens = append(s.Tokens[:i], int32(300+i))
				}
				s.Kind, s.Wants[0].Row = batch.Prefill, rows-1
				for j := range rows / batch.BlockSize {
					s.Blocks = append(s.Blocks[:j], int32(j))
				}
				runSteps(b, e, step)
			})
		}
	}
}

func runSteps(b *testing.B, e *engine.Engine, step *batch.Step) {
	_, err := e.Run(step)
	require.NoError(b, err)
	var record float64
	b.ResetTimer()
	for range b.N {
		_, err := e.Run(step)
		require.NoError(b, err)
		record += float64(e.Stats().Record.Nanoseconds()) / 1e3
	}
	b.ReportMetric(float64(step.Rows()*b.N)/b.Elapsed().Seconds(), "tok/s")
	b.ReportMetric(float64(e.Stats().Dispatches), "dispatches/op")
	b.ReportMetric(record/float64(b.N), "record-us/op")
}

// BenchmarkLinear times the linear kernel alone, on the shapes of a layer.
func BenchmarkLinear(b *testing.B) {
	device, err := engine.OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(b, err)
	defer device.Close()
	for _, shape := range [][3]int{{1, 2048, 192}, {8, 512, 512}, {128, 576, 192}, {256, 2048, 512}} {
		b.Run(fmt.Sprintf("%dx%dx%d", shape[0], shape[1], shape[2]), func(b *testing.B) {
			benchLinear(b, device, shape[0], shape[1], shape[2])
		})
	}
}

func benchLinear(b *testing.B, device *engine.Device, rows, out, in int) {
	tuning, err := engine.TuningFor(device.Info, "")
	require.NoError(b, err)
	kernels, err := engine.NewKernels(device.Device, tuning, weights.BF16, weights.F32)
	require.NoError(b, err)
	var buffers []vk.Buffer
	take := func(size int) vk.Buffer {
		buf, err := device.Alloc(vk.Local, uint64(size))
		require.NoError(b, err)
		require.NoError(b, device.Write(buf, 0, uint64(size), func(dst []byte, _ uint64) error {
			clear(dst)
			return nil
		}))
		buffers = append(buffers, buf)
		return buf
	}
	w, x, y, parts := take(2*out*in), take(4*rows*in), take(4*rows*out), take(32)
	table := []uint64{w.Address, 0, 0, uint64(out)}
	require.NoError(b, device.Write(parts, 0, 32, func(dst []byte, _ uint64) error {
		copy(dst, vk.Bytes(table))
		return nil
	}))
	rec := device.NewRecorder(false)
	const repeats = 20
	for range repeats {
		require.NoError(b, kernels.Linear(rec, engine.Linear{
			Product: engine.Product{Table: parts.All(), Weights: []vk.Range{w.All()}, In: in, Outs: []int{out}},
			X:       x.All(), Y: y.All(), Rows: rows,
		}))
	}
	require.NoError(b, rec.Run())
	b.ResetTimer()
	for range b.N {
		require.NoError(b, rec.Run())
	}
	b.ReportMetric(2*float64(rows*out*in)*repeats*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
	b.StopTimer()
	for _, buf := range buffers {
		device.Free(buf)
	}
}
