package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// subgroupTuning is the gpu's with a workgroup of so many subgroups.
func subgroupTuning(t *testing.T, subgroups int, deep uint32) shaders.Tuning {
	tuning := tuning(t, "gpu")
	tuning.DecodeWorkgroup, tuning.DecodeDeep = uint32(subgroups*device.Info.SubgroupSize), deep
	return tuning
}

func TestAttentionDecodeSubgroup(t *testing.T) {
	b := newBench(t, 34)
	for i, size := range []int{16, 32, 64, 128} {
		for j, act := range types {
			heads := engine.Heads{Query: 2 * (1 + (i+j)%4), Key: 2, Size: size}
			k := kernels(t, subgroupTuning(t, []int{1, 4, 2}[(i+j)%3], []uint32{4, 1, 2}[i%3]), act, act)
			if !k.FusesRope(heads) {
				continue
			}
			window := []int{0, 1, 16}[(i+j)%3]
			for c, s := range contexts {
				a := b.newAttention(heads, act, window, s)
				splits := []int{1, 5, 2, 0}[(i+j+c)%4]
				what := fmt.Sprintf("%v, %v, window %d, %d splits", act, heads, window, splits)
				a.decode(b, k, splits, what)
				a.decodeRotated(b, k, splits, j%2 == 0, what)
			}
		}
	}
}

// decodeRotated runs the op with the rows as the product of q, k and v leaves
// them. The cache gets its last cells from the op itself.
func (a attention) decodeRotated(b *bench, k *engine.Kernels, splits int, norms bool, what ...any) {
	b.Helper()
	const context = 301
	h, act := a.Heads, k.Act
	o := ref.Rope{
		Heads: h.Query, KeyHeads: h.Key, Size: h.Size, Eps: eps,
		QKV: b.normal(a.Rows*(h.Query+2*h.Key)*h.Size, 1, weights.F32), Turns: ref.Turns(context, h.Size, 10000),
	}
	for _, r := range a.runs {
		o.Positions = append(o.Positions, int32(r.Position))
	}
	rope := engine.Rope{
		Heads: h, QKV: b.stored(o.QKV, weights.F32), Turns: b.stored(o.Turns, weights.F32), Positions: b.integers(o.Positions),
		Cells: b.integers(o.Positions), Eps: eps, Rows: a.Rows, Context: context,
	}
	if norms {
		o.QNorm, o.KNorm = b.normal(h.Size, 1, weights.F32), b.normal(h.Size, 1, weights.F32)
		rope.QNorm, rope.KNorm = b.stored(o.QNorm, weights.F32), b.stored(o.KNorm, weights.F32)
	}
	q, keys, values := o.Run()
	a.oracle.Q = rounded32(q)
	caches := [2]*output{b.holding(encode(a.oracle.Keys, act)), b.holding(encode(a.oracle.Values, act))}
	for i, r := range a.runs {
		cell := int(a.oracle.Tables[r.Table+r.Position/ref.BlockSize])*ref.BlockSize + r.Position%ref.BlockSize
		for head := range h.Key {
			at, from := ref.InCache(cell, h.Key, head, h.Size), (i*h.Key+head)*h.Size
			copy(a.oracle.Keys[at:], rounded32(keys[from:][:h.Size]))
			copy(a.oracle.Values[at:], rounded32(values[from:][:h.Size]))
		}
	}
	a.Cache.Keys, a.Cache.Values = caches[0].Range, caches[1].Range
	rope.Cache = a.Cache
	a.runDecode(b, k, splits, &rope, caches[:]...)
	requireClose(b, wideOf(a.oracle.Keys), caches[0].numbers(b, act), act, what...)
	requireClose(b, wideOf(a.oracle.Values), caches[1].numbers(b, act), act, what...)
	requireClose(b, a.oracle.Decode(a.runs), a.y.numbers(b, act), act, what...)
}

func rounded32(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func wideOf(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}
