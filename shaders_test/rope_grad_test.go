package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

func TestRopeGrad(t *testing.T) {
	const context = 97
	b := newBench(t, 44)
	for i, heads := range []engine.Heads{
		{Query: 1, Key: 1, Size: 8}, {Query: 6, Key: 2, Size: 16}, {Query: 4, Key: 4, Size: 80},
		{Query: 2, Key: 1, Size: 64}, {Query: 8, Key: 2, Size: 128},
	} {
		rows := []int{1, 133, 3, 40, 7}[i]
		o := ref.Rope{Heads: heads.Query, KeyHeads: heads.Key, Size: heads.Size, Eps: eps, Turns: ref.Turns(context, heads.Size, 10000)}
		for row := range rows {
			o.Positions = append(o.Positions, int32(row*7%context))
		}
		shares := []int{1, 3, 1, 2, 4}[i]
		parts := b.normal(rows*(heads.Query+2*shares*heads.Key)*heads.Size, 1, weights.F32)
		d := addShares(parts, heads, shares)
		r := engine.RopeGrad{
			Heads: heads, Rows: rows, Context: context, Shares: shares, Eps: eps, D: b.stored(parts, weights.F32),
			Turns: b.stored(o.Turns, weights.F32), Positions: b.integers(o.Positions),
		}
		for _, norms := range []bool{false, true} {
			if norms {
				o.QKV = b.normal(len(d), 1, weights.F32)
				o.QNorm, o.KNorm = b.normal(heads.Size, 1, weights.F32), b.normal(heads.Size, 1, weights.F32)
				r.QKV, r.QNorm, r.KNorm = b.stored(o.QKV, weights.F32), b.stored(o.QNorm, weights.F32), b.stored(o.KNorm, weights.F32)
			}
			want := o.Grad(d)
			for j, tuning := range mapTunings(t) {
				if brief() && j > 1 && (i+j)%3 > 0 {
					continue // each shape meets a few of the other workgroup sizes
				}
				act := types[(i+j)%len(types)]
				k, dqkv := kernels(t, tuning, act, act), b.blank(act.Size()*len(d))
				r.DQKV = dqkv.Range
				b.dispatch(func(rec *vk.Recorder) error { return k.RopeGrad(rec, r) }, dqkv)
				requireClose(t, want, dqkv.numbers(b, act), act,
					fmt.Sprintf("%v, %v, norms %v, workgroup %d", act, heads, norms, tuning.MapWorkgroup))
			}
		}
	}
}
