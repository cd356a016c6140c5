package shaders_test

import (
	"fmt"
	"slices"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// contexts are batches of sequences that each decode a token.
var contexts = [][]sequence{
	{{1, 1}},
	{{16, 1}, {17, 1}, {2, 1}},
	{{300, 1}, {7, 1}, {133, 1}, {64, 1}},
}

func (a attention) decode(b *bench, k *engine.Kernels, splits int, what ...any) {
	b.Helper()
	a.runDecode(b, k, splits, nil)
	requireClose(b, a.oracle.Decode(a.runs), a.y.numbers(b, k.Act), k.Act, what...)
}

// runDecode runs the op in so many splits; with rope it rotates and appends as
// well, to caches that are among the outputs.
func (a attention) runDecode(b *bench, k *engine.Kernels, splits int, rope *engine.Rope, outputs ...*output) {
	b.Helper()
	op := engine.AttentionDecode{Attention: a.Attention, Count: len(a.runs), Splits: splits, Rope: rope}
	var list []int32
	for _, r := range a.runs {
		list = append(list, int32(r.Row), int32(r.Position), int32(r.Table))
		op.Longest = max(op.Longest, r.Position+1)
	}
	room := max(splits, k.DecodeSplits(op.Count, a.Key, op.Longest))
	scratch := b.blank(engine.DecodeScratch(a.Heads, op.Count, room))
	counts := b.holding(make([]byte, 4*op.Count*a.Key))
	op.Tiles, op.Scratch, op.Counts = b.integers(list), scratch.Range, counts.Range
	// Twice in a step: the second finds the counters as the first left them.
	b.dispatch(func(rec *vk.Recorder) error {
		if err := k.AttentionDecode(rec, op); err != nil {
			return err
		}
		return k.AttentionDecode(rec, op)
	}, append(outputs, a.y, counts)...)
}

// briefDecode is a tuning whose workgroups a software device compiles in a second
// instead of ten; TestAttentionDecodeInEveryWorkgroup has the others.
func briefDecode(t shaders.Tuning) shaders.Tuning {
	if brief() {
		t.DecodeWorkgroup = min(t.DecodeWorkgroup, 32)
	}
	return t
}

func TestAttentionDecodeInEveryHead(t *testing.T) {
	b := newBench(t, 10)
	for i, size := range []int{16, 32, 64, 80, 128} {
		for j, act := range types {
			heads := engine.Heads{Query: 2 * (1 + (i+j)%4), Key: 2, Size: size}
			window := []int{0, 1, 16}[(i+j)%3]
			a := b.newAttention(heads, act, window, contexts[(i+j)%2+1])
			for _, tuning := range shaders.Tunings() {
				if tuning.Name == "gpu" && i != j && brief() {
					continue
				}
				tuning = briefDecode(tuning)
				tuning.DecodeDeep = 0
				k := kernels(t, tuning, act, act)
				for _, splits := range []int{1, 5} {
					a.decode(b, k, splits, fmt.Sprintf("%v, %v, window %d, %d splits, %s", act, heads, window, splits, tuning.Name))
				}
			}
		}
	}
}

func TestAttentionDecodeInEveryWorkgroup(t *testing.T) {
	b := newBench(t, 11)
	for i, group := range []int{1, 3} {
		heads := engine.Heads{Query: 2 * group, Key: 2, Size: 32}
		for _, window := range []int{0, 1, 16} {
			for c, s := range contexts {
				a := b.newAttention(heads, weights.F32, window, s)
				for j, wg := range workgroups() {
					if brief() && (group == 1) != slices.Contains(few(), wg) {
						continue // each size meets one group
					}
					tuning := tuning(t, "gpu")
					tuning.DecodeWorkgroup, tuning.DecodePer, tuning.DecodeDeep = wg, []uint32{1, 2, 4}[(i+j)%3], 0
					splits := []int{1, 2, 5, 0}[(i+j+c)%4]
					a.decode(b, kernels(t, tuning, weights.F32, weights.F32), splits,
						fmt.Sprintf("%v, window %d, %d splits, workgroup %d, %d keys a lane", heads, window, splits, wg, tuning.DecodePer))
				}
			}
		}
	}
}

// Rows of a step need not be in the order of its tiles, nor all decode.
func TestAttentionDecodeOfSomeRows(t *testing.T) {
	b := newBench(t, 12)
	a := b.newAttention(engine.Heads{Query: 4, Key: 2, Size: 32}, weights.F32, 0, []sequence{{20, 3}, {40, 1}, {9, 2}})
	for i := range a.runs { // each sequence's last row
		r := &a.runs[i]
		r.Row, r.Position, r.Queries = r.Row+r.Queries-1, r.Position+r.Queries-1, 1
	}
	a.runs[0], a.runs[2] = a.runs[2], a.runs[0]
	for _, tuning := range shaders.Tunings() {
		a.decode(b, kernels(t, briefDecode(tuning), weights.F32, weights.F32), 2, tuning.Name)
	}
}
