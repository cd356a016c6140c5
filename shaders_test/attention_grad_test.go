package shaders_test

import (
	"fmt"
	"math"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// attentionGrad is a case of attention's backward with its numbers for the
// oracle and on the device.
type attentionGrad struct {
	engine.AttentionGrad
	oracle          ref.AttentionGrad
	forward         attention
	runs            []ref.Run // one for each sequence
	d, stats, delta *output
}

// packed are whole sequences side by side, as a fine-tuning step has them.
var packed = [][]sequence{
	{{2, 2}, {3, 3}, {7, 7}, {17, 17}, {40, 40}, {133, 133}},
	{{1, 1}, {33, 33}, {16, 16}},
	{{3, 3}},
}

// gradWindows are the windows that those meet.
var gradWindows = []int{0, 1, 5, 16, 64}

func (b *bench) newAttentionGrad(heads engine.Heads, act weights.DType, window int, sequences []sequence) attentionGrad {
	return b.gradOf(b.newAttention(heads, act, window, sequences), act, weights.F32)
}

// gradOf is the backward of a case, with gradients of its output that a type can hold.
func (b *bench) gradOf(a attention, act, gradients weights.DType) attentionGrad {
	heads := a.Heads
	g := attentionGrad{forward: a, runs: a.runs, oracle: ref.AttentionGrad{Attention: a.oracle}}
	o := &g.oracle
	o.DY = b.normal(len(o.Q), 1, gradients)
	o.Y = rounded(float32s(o.Prefill(g.runs)), act)
	stats, delta := o.Stats(g.runs), o.Delta(g.runs)
	g.d = b.blank(4 * a.Rows * (heads.Query + 2*heads.Key) * heads.Size)
	g.stats = b.holding(encode(float32s(stats), weights.F32))
	g.delta = b.holding(encode(float32s(delta), weights.F32))
	op := engine.AttentionGrad{
		Heads: heads, Cache: a.Cache, Q: a.Q, Y: b.stored(o.Y, act), DY: b.stored(o.DY, weights.F32),
		Stats: g.stats.Range, Delta: g.delta.Range, D: g.d.Range, Tables: a.Tables, Count: len(g.runs), Window: a.Window, Rows: a.Rows,
	}
	var list []int32
	for _, r := range g.runs {
		list = append(list, int32(r.Row), int32(r.Queries), 0, int32(r.Table))
		op.Longest, op.Span = max(op.Longest, r.Queries), max(op.Span, r.Queries)
	}
	op.Tiles = b.integers(list)
	g.AttentionGrad = op
	return g
}

func float32s(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// beside is a where it is a number, and b elsewhere.
func beside(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i, v := range a {
		if out[i] = v; math.IsNaN(v) {
			out[i] = b[i]
		}
	}
	return out
}

// gradTunings are the two tunings, and workgroup sizes and lanes they do not use.
func gradTunings(t *testing.T) []shaders.Tuning {
	all := laneTunings()
	for i, wg := range few() {
		other := tuning(t, "gpu")
		other.PrefillWorkgroup, other.PrefillLanes = wg, []uint32{1, 2, 4}[i%3]
		other.GradWorkgroup, other.GradLanes, other.GradPer = wg, []uint32{4, 1, 2}[i%3], []uint32{2, 4, 1}[i%3]
		all = append(all, other)
	}
	return all
}

// inEveryHead runs a check over head sizes, storage types, windows and tunings.
func inEveryHead(b *bench, check func(attentionGrad, *bench) func(*engine.Kernels, string)) {
	for i, size := range []int{8, 16, 32, 64, 80, 128} {
		for j, act := range types {
			heads := engine.Heads{Query: 2 * []int{1, 2, 4}[(i+j)%3], Key: 2, Size: size}
			g := b.newAttentionGrad(heads, act, gradWindows[(3*i+j)%5], packed[(i+j)%2])
			run := check(g, b)
			for _, tuning := range laneTunings() {
				if tuning.Name == "gpu" && (i+j)%3 > 0 && brief() {
					continue
				}
				run(kernels(b.T, tuning, act, act), fmt.Sprintf("%v, %v, window %d, %s", act, heads, g.Window, tuning.Name))
			}
		}
	}
}

// inEveryWorkgroup runs a check over tunings, windows and sequences.
func inEveryWorkgroup(b *bench, check func(attentionGrad, *bench) func(*engine.Kernels, string)) {
	for i, s := range packed {
		heads := engine.Heads{Query: []int{2, 3, 4}[i], Key: []int{2, 1, 1}[i], Size: 32}
		for _, window := range gradWindows {
			g := b.newAttentionGrad(heads, weights.F32, window, s)
			run := check(g, b)
			for _, tuning := range gradTunings(b.T) {
				run(kernels(b.T, tuning, weights.F32, weights.F32), fmt.Sprintf("%v, window %d, %+v", heads, window, tuning))
			}
		}
	}
}

// The whole chain in one submission, each kernel fed by the one before it.
func TestAttentionGradFromTheForwardPass(t *testing.T) {
	b := newBench(t, 43)
	for _, act := range types {
		g := b.newAttentionGrad(engine.Heads{Query: 4, Key: 2, Size: 32}, act, 0, packed[0])
		forward := engine.AttentionPrefill{
			Attention: g.forward.Attention, Tiles: g.Tiles, Count: g.Count, Longest: g.Longest, Span: g.Span,
		}
		stats, delta := b.blank(int(g.stats.Size)), b.blank(int(g.delta.Size))
		forward.Stats = stats.Range
		op := g.AttentionGrad
		op.Y, op.Stats, op.Delta = g.forward.y.Range, stats.Range, delta.Range
		for _, tuning := range laneTunings() {
			k := kernels(t, tuning, act, act)
			b.dispatch(func(rec *vk.Recorder) error {
				for _, record := range []func() error{
					func() error { return k.AttentionPrefill(rec, forward) },
					func() error { return k.AttentionGradQ(rec, op) },
					func() error { return k.AttentionGradKV(rec, op) },
				} {
					if err := record(); err != nil {
						return err
					}
				}
				return nil
			}, g.forward.y, stats, delta, g.d)
			oracle := g.oracle
			oracle.Y = float32s(g.forward.y.numbers(b, act)) // as the kernel rounded it
			requireClose(t, oracle.Stats(g.runs), stats.numbers(b, weights.F32), weights.F32, tuning.Name, act)
			requireClose(t, beside(oracle.GradQ(g.runs), oracle.GradKV(g.runs)), g.d.numbers(b, weights.F32), weights.F32, tuning.Name, act)
		}
	}
}
