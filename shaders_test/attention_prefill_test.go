package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// laneTunings are the two tunings without cooperative matrices, which have their
// own tests.
func laneTunings() []shaders.Tuning {
	all := shaders.Tunings()
	for i := range all {
		all[i].PrefillMatrix, all[i].GradQMatrix, all[i].GradKVMatrix = nil, nil, nil
	}
	return all
}

// prefillTunings are the two tunings, and workgroup sizes and lanes they do not use.
func prefillTunings(t *testing.T) []shaders.Tuning {
	all := laneTunings()
	for i, wg := range workgroups() {
		other := tuning(t, "gpu")
		other.PrefillWorkgroup, other.PrefillLanes = wg, []uint32{1, 2, 4}[i%3]
		all = append(all, other)
	}
	return all
}

// chunks are whole prompts, chunks of longer ones and suffixes.
var chunks = [][]sequence{
	{{1, 1}},
	{{7, 7}, {16, 16}, {17, 1}},
	{{300, 37}, {5, 3}, {40, 40}, {129, 64}},
}

// prefillOp is the op with a tile for each run.
func (a attention) prefillOp(b *bench) engine.AttentionPrefill {
	op := engine.AttentionPrefill{Attention: a.Attention, Count: len(a.runs)}
	var list []int32
	for _, r := range a.runs {
		list = append(list, int32(r.Row), int32(r.Queries), int32(r.Position), int32(r.Table))
		op.Longest, op.Span = max(op.Longest, r.Queries), max(op.Span, r.Position+r.Queries)
	}
	op.Tiles = b.integers(list)
	return op
}

func (a attention) prefill(b *bench, k *engine.Kernels, what ...any) {
	b.Helper()
	op := a.prefillOp(b)
	b.dispatch(func(rec *vk.Recorder) error { return k.AttentionPrefill(rec, op) }, a.y)
	requireClose(b, a.oracle.Prefill(a.runs), a.y.numbers(b, k.Act), k.Act, what...)
}

func TestAttentionPrefillInEveryHead(t *testing.T) {
	b := newBench(t, 7)
	for i, size := range []int{16, 32, 64, 80, 128} {
		for j, act := range types {
			heads := engine.Heads{Query: 2 * (1 + (i+j)%4), Key: 2, Size: size}
			window, s := []int{0, 1, 16}[(i+j)%3], chunks[(i+j)%2+1]
			a := b.newAttention(heads, act, window, s)
			for _, tuning := range laneTunings() {
				a.prefill(b, kernels(t, tuning, act, act), fmt.Sprintf("%v, %v, window %d, %s", act, heads, window, tuning.Name))
			}
		}
	}
}

func TestAttentionPrefillInEveryWorkgroup(t *testing.T) {
	b := newBench(t, 8)
	for i, s := range chunks {
		heads := engine.Heads{Query: 3 - i, Key: []int{1, 2, 1}[i], Size: 32}
		for _, window := range []int{0, 1, 16} {
			a := b.newAttention(heads, weights.F32, window, s)
			for _, tuning := range prefillTunings(t) {
				a.prefill(b, kernels(t, tuning, weights.F32, weights.F32), fmt.Sprintf("%v, window %d, %+v", heads, window, tuning))
			}
		}
	}
}

// A sequence's queries may be cut into several tiles.
func TestAttentionPrefillInTiles(t *testing.T) {
	b, s := newBench(t, 9), []sequence{{50, 33}}
	a := b.newAttention(engine.Heads{Query: 4, Key: 2, Size: 32}, weights.F32, 0, s)
	whole := a.runs[0]
	a.runs = nil
	for at := 0; at < whole.Queries; at += 8 {
		part := whole
		part.Row, part.Position, part.Queries = whole.Row+at, whole.Position+at, min(8, whole.Queries-at)
		a.runs = append(a.runs, part)
	}
	for _, tuning := range laneTunings() {
		a.prefill(b, kernels(t, tuning, weights.F32, weights.F32), tuning.Name)
	}
}
