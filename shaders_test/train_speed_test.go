package shaders_test

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// The kernels of training at the sizes of a model of 8 billion parameters
// (hidden 4096, intermediate 14336, 32 heads and 8 for keys of size 128, vocabulary
// 128,256), 1024 rows, timed on the device: LOQUETIER_SPEED=1 runs them.

const speedRows = 1024

// speedProducts are the products of a layer.
var speedProducts = []struct {
	name string
	in   int
	outs []int
}{
	{"qkv", 4096, []int{4096, 1024, 1024}}, {"o", 4096, []int{4096}}, {"gate up", 4096, []int{14336, 14336}}, {"down", 14336, []int{4096}},
}

// speed is a test's memory: random numbers, repeated, since their values do not matter.
type speed struct {
	*bench
	act weights.DType
}

func newSpeed(t *testing.T) *speed {
	if os.Getenv("LOQUETIER_SPEED") == "" {
		t.Skip("measures; LOQUETIER_SPEED=1 runs it")
	}
	return &speed{bench: newBench(t, 60), act: weights.BF16}
}

// numbers is a buffer of n random numbers of a type.
func (s *speed) numbers(n int, dt weights.DType) vk.Range {
	block := encode(s.normal(1<<16, 1, dt), dt)
	size := n * dt.Size()
	buffer, err := device.Alloc(vk.Local, uint64(size))
	require.NoError(s, err)
	s.Cleanup(func() { device.Free(buffer) })
	require.NoError(s, device.Write(buffer, 0, uint64(size), func(dst []byte, at uint64) error {
		for n := 0; n < len(dst); {
			n += copy(dst[n:], block[(int(at)+n)%len(block):])
		}
		return nil
	}))
	return buffer.All()
}

// product is one with an adapter of a rank that is trained; it has no weights.
func (s *speed) product(in int, outs []int, rank int) (p engine.Product, reads, writes []vk.Range) {
	p = engine.Product{In: in, Outs: outs}
	var table []byte
	offset := 0
	for _, out := range outs {
		a, b := s.numbers(rank*in, s.act), s.numbers(rank*out, s.act)
		da, db := s.numbers(rank*in, weights.F32), s.numbers(rank*out, weights.F32)
		row := s.bytes(words(nil, a.Address, b.Address, 0, da.Address, db.Address, uint64(rank)|uint64(math.Float32bits(2))<<32))
		reads, writes = append(reads, a, b, row), append(writes, da, db)
		table = words(table, 0, 0, row.Address, uint64(out)|uint64(offset)<<32)
		offset += out
	}
	p.Table = s.bytes(table)
	return p, reads, writes
}

// bytes puts bytes on the device.
func (b *bench) bytes(data []byte) vk.Range { return b.holding(data).Range }

// time is the median of a kernel's runs, and its share of the bytes it has to move.
func (s *speed) time(what string, record func(*vk.Recorder) error) time.Duration {
	s.Helper()
	var all []time.Duration
	var work vk.Work
	for range 2 {
		rec := device.NewRecorder(true)
		for range 15 {
			require.NoError(s, record(rec))
		}
		require.NoError(s, rec.Run())
		timings, err := rec.Timings()
		require.NoError(s, err)
		all = all[:0]
		for _, t := range timings {
			all, work = append(all, t.Time), t.Work
		}
	}
	slices.Sort(all)
	median := all[len(all)/2]
	s.Logf("%-60s %8.1f us %7.0f GB/s %8.1f GFLOP/s", what, float64(median)/1e3, work.Bytes/float64(median), work.Flops/float64(median))
	return median
}

func (s *speed) kernels(change func(*shaders.Tuning)) *engine.Kernels {
	t := tuning(s.T, "gpu")
	change(&t)
	k, err := engine.NewKernels(device, t, s.act, s.act)
	require.NoError(s, err)
	return k
}

// speedShapes are shapes of the adapters' kernels: with cooperative matrices, and last without.
var speedShapes = []shaders.OnMatrices{
	{Subgroups: 8, Depth: 64, Across: 4, Shares: 4}, {Subgroups: 8, Depth: 32, Across: 4, Shares: 2},
	{Subgroups: 16, Depth: 32, Across: 8, Shares: 2}, {Subgroups: 4, Depth: 64, Across: 2, Shares: 4}, {},
}

func TestSpeedOfLoRAGrad(t *testing.T) {
	s := newSpeed(t)
	for _, rank := range []int{8, 16} {
		totals := make([]time.Duration, len(speedShapes))
		for _, p := range speedProducts {
			product, reads, writes := s.product(p.in, p.outs, rank)
			width := product.Width(engine.Plain)
			x, dy := s.numbers(speedRows*p.in, s.act), s.numbers(speedRows*width, s.act)
			n := speedRows * len(p.outs) * rank
			g := engine.LoRAGrad{
				Product: product, Segments: s.integers([]int32{0, speedRows, 0}), Count: 1, X: x, DY: dy,
				U: s.numbers(n, weights.F32), V: s.numbers(n, weights.F32), Reads: reads, Writes: writes,
				Rows: speedRows, Stride: rank, MaxRank: rank,
			}
			for i, shape := range speedShapes {
				k := s.kernels(func(t *shaders.Tuning) { t.AdapterMatrix = shape })
				totals[i] += s.time(fmt.Sprintf("lora_grad %s r%d %+v", p.name, rank, shape), func(rec *vk.Recorder) error { return k.LoRAGrad(rec, g) })
			}
		}
		for i, shape := range speedShapes {
			s.Logf("lora_grad r%d, 32 layers: %v %+v", rank, 32*totals[i], shape)
		}
	}
}

func TestSpeedOfShrinks(t *testing.T) {
	s := newSpeed(t)
	for _, rank := range []int{8, 16} {
		forth, back := make([]time.Duration, len(speedShapes)), make([]time.Duration, len(speedShapes))
		for _, p := range speedProducts {
			product, reads, _ := s.product(p.in, p.outs, rank)
			width := product.Width(engine.Plain)
			x, dy, u := s.numbers(speedRows*p.in, s.act), s.numbers(speedRows*width, s.act), s.numbers(speedRows*len(p.outs)*rank, weights.F32)
			for i, shape := range speedShapes {
				k := s.kernels(func(t *shaders.Tuning) { t.AdapterMatrix = shape })
				tiles := s.tilesOf(make([]int32, speedRows), uint32(k.TallRows()), false)
				tiles.Tall = true
				forth[i] += s.time(fmt.Sprintf("shrink %s r%d %+v", p.name, rank, shape), func(rec *vk.Recorder) error {
					return k.Shrink(rec, engine.Shrink{Product: product, Tiles: tiles, X: x, V: u, Reads: reads, Rows: speedRows, Stride: rank, MaxRank: rank})
				})
				back[i] += s.time(fmt.Sprintf("shrink_grad %s r%d %+v", p.name, rank, shape), func(rec *vk.Recorder) error {
					return k.ShrinkGrad(rec, engine.ShrinkGrad{Product: product, Tiles: tiles, DY: dy, U: u, Reads: reads, Rows: speedRows, Stride: rank, MaxRank: rank})
				})
			}
		}
		for i, shape := range speedShapes {
			s.Logf("shrink, shrink_grad r%d, 32 layers: %v %v %+v", rank, 32*forth[i], 32*back[i], shape)
		}
	}
}

func TestSpeedOfCrossEntropy(t *testing.T) {
	s := newSpeed(t)
	const rows, vocab = 512, 128256
	logits, d, logs := s.numbers(rows*vocab, weights.F32), s.numbers(rows*vocab, s.act), s.numbers(rows, weights.F32)
	targets := s.integers(make([]int32, rows))
	for _, sweep := range []shaders.Sweep{
		{Workgroup: 256, Ahead: 1}, {Workgroup: 256, Ahead: 4}, {Workgroup: 512, Ahead: 1}, {Workgroup: 512, Ahead: 2},
		{Workgroup: 512, Ahead: 4}, {Workgroup: 1024, Ahead: 1}, {Workgroup: 1024, Ahead: 2}, {Workgroup: 1024, Ahead: 4},
	} {
		k := s.kernels(func(t *shaders.Tuning) { t.CrossEntropy = sweep })
		s.time(fmt.Sprintf("cross_entropy %d rows %+v", rows, sweep), func(rec *vk.Recorder) error {
			return k.CrossEntropy(rec, engine.CrossEntropy{Logits: logits, D: d, Targets: targets, Logs: logs, Rows: rows, Vocab: vocab})
		})
	}
}

func TestSpeedOfMaps(t *testing.T) {
	s := newSpeed(t)
	const hidden, wide, columns = 4096, 14336, 6144
	gateUp, dff, ff := s.numbers(speedRows*2*wide, s.act), s.numbers(speedRows*wide, weights.F32), s.numbers(speedRows*wide, s.act)
	dgateUp := s.numbers(speedRows*2*wide, s.act)
	x, dx, dh, g := s.numbers(speedRows*hidden, weights.F32), s.numbers(speedRows*hidden, weights.F32), s.numbers(speedRows*hidden, weights.F32), s.numbers(hidden, weights.F32)
	h := s.numbers(speedRows*hidden, s.act)
	turned, dqkv, turns := s.numbers(speedRows*columns, weights.F32), s.numbers(speedRows*columns, weights.F32), s.numbers(speedRows*128, weights.F32)
	positions := s.integers(make([]int32, speedRows))
	for _, wg := range []uint32{64, 128, 256, 512} {
		k := s.kernels(func(t *shaders.Tuning) { t.MapWorkgroup, t.ShrinkWorkgroup = wg, wg })
		s.time(fmt.Sprintf("silu_grad, workgroup %d", wg), func(rec *vk.Recorder) error {
			return k.SiLUGrad(rec, engine.SiLUGrad{GateUp: gateUp, DY: dff, D: dgateUp, Y: ff, Rows: speedRows, Width: wide})
		})
		s.time(fmt.Sprintf("norm_grad, workgroup %d", wg), func(rec *vk.Recorder) error {
			return k.NormGrad(rec, engine.NormGrad{X: x, G: g, DY: dh, DX: dx, Eps: 1e-5, Rows: speedRows, Width: hidden})
		})
		s.time(fmt.Sprintf("norm, workgroup %d", wg), func(rec *vk.Recorder) error {
			return k.Norm(rec, engine.Norm{X: x, G: g, Y: h, Eps: 1e-5, Rows: speedRows, Width: hidden})
		})
		s.time(fmt.Sprintf("rope_grad, workgroup %d", wg), func(rec *vk.Recorder) error {
			return k.RopeGrad(rec, engine.RopeGrad{
				Heads: engine.Heads{Query: 32, Key: 8, Size: 128}, D: turned, DQKV: dqkv, Turns: turns, Positions: positions,
				Eps: 1e-5, Rows: speedRows, Context: speedRows,
			})
		})
	}
	a, b := s.blank(4*speedRows*hidden), s.blank(4*speedRows*hidden)
	s.time("copy of a residual stream", func(rec *vk.Recorder) error {
		rec.Copy(b.buffer, 0, a.buffer, 0, a.Size)
		return nil
	})
}

func TestSpeedOfTheOptimizer(t *testing.T) {
	s := newSpeed(t)
	const count = 20971520
	var arrays []vk.Range
	for range 4 {
		arrays = append(arrays, s.numbers(count, weights.F32))
	}
	partials, copied, norms := s.blank(4*engine.GradParts), s.numbers(count, s.act), s.blank(4)
	row := engine.NewOptimizerRow(batch.Update{Targets: 4096, Step: 1, LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Clip: 1})
	row.Weights, row.Gradient, row.Mean, row.Variance, row.Copy = arrays[0].Address, arrays[1].Address, arrays[2].Address, arrays[3].Address, copied.Address
	row.Partials, row.Count = partials.Address, count
	rows := s.holding(vk.Bytes([]engine.OptimizerRow{row})).Range
	for _, wg := range []uint32{64, 256, 512} {
		k := s.kernels(func(t *shaders.Tuning) { t.MapWorkgroup, t.SampleWorkgroup = wg, wg })
		s.time(fmt.Sprintf("grad_norm, workgroup %d", wg), func(rec *vk.Recorder) error {
			return k.GradNorm(rec, engine.GradNorm{Rows: rows, Updates: 1, Reads: arrays[1:2], Writes: []vk.Range{partials.Range}})
		})
		s.time(fmt.Sprintf("optimizer, workgroup %d", wg), func(rec *vk.Recorder) error {
			return k.Optimizer(rec, engine.OptimizerStep{
				Rows: rows, Norms: norms.Range, Updates: 1, Longest: count, Reads: append(slices.Clone(arrays), partials.Range), Writes: append(slices.Clone(arrays), copied),
			})
		})
	}
}
