package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// mapTunings are the two tunings, and other workgroup sizes.
func mapTunings(t *testing.T) []shaders.Tuning {
	all := shaders.Tunings()
	for _, wg := range workgroups() {
		other := tuning(t, "gpu")
		other.MapWorkgroup = wg
		all = append(all, other)
	}
	return all
}

// inCache puts rows [rows, key heads, size] where their cells lie.
func inCache(x []float64, heads engine.Heads, cells []int32, blocks int) []float64 {
	cache := make([]float64, blocks*ref.BlockSize*heads.Key*heads.Size)
	for i := range cache {
		cache[i] = nan
	}
	for row, cell := range cells {
		for head := range heads.Key {
			copy(cache[ref.InCache(int(cell), heads.Key, head, heads.Size):], x[(row*heads.Key+head)*heads.Size:][:heads.Size])
		}
	}
	return cache
}

func TestRope(t *testing.T) {
	const context = 97
	for _, act := range types {
		b := newBench(t, 13)
		for i, heads := range []engine.Heads{{Query: 1, Key: 1, Size: 8}, {Query: 6, Key: 2, Size: 16}, {Query: 4, Key: 4, Size: 80}, {Query: 8, Key: 2, Size: 128}} {
			rows := []int{1, 133, 3, 7}[i]
			for _, norms := range []bool{false, true} {
				o := ref.Rope{
					Heads: heads.Query, KeyHeads: heads.Key, Size: heads.Size, Eps: eps,
					QKV:   b.normal(rows*(heads.Query+2*heads.Key)*heads.Size, 1, weights.F32),
					Turns: ref.Turns(context, heads.Size, 10000),
				}
				blocks := rows/ref.BlockSize + 3
				var cells []int32
				for row, cell := range b.Perm(blocks * ref.BlockSize)[:rows] {
					cells, o.Positions = append(cells, int32(cell)), append(o.Positions, int32(row*7%context))
				}
				r := engine.Rope{
					Heads: heads, Rows: rows, Context: context, Eps: eps,
					QKV: b.stored(o.QKV, weights.F32), Turns: b.stored(o.Turns, weights.F32),
					Positions: b.integers(o.Positions), Cells: b.integers(cells),
				}
				if norms {
					o.QNorm, o.KNorm = b.normal(heads.Size, 1, weights.F32), b.normal(heads.Size, 1, weights.F32)
					r.QNorm, r.KNorm = b.stored(o.QNorm, weights.F32), b.stored(o.KNorm, weights.F32)
				}
				wantQ, wantK, wantV := o.Run()
				size := blocks * ref.BlockSize * heads.Key * heads.Size * act.Size()
				q, keys, values := b.blank(4*len(wantQ)), b.blank(size), b.blank(size)
				r.Q, r.Cache = q.Range, engine.Cache{Keys: keys.Range, Values: values.Range, Blocks: blocks}
				for _, tuning := range mapTunings(t) {
					k, what := kernels(t, tuning, act, act), fmt.Sprintf("%v, %v, norms %v, workgroup %d", act, heads, norms, tuning.MapWorkgroup)
					b.dispatch(func(rec *vk.Recorder) error { return k.Rope(rec, r) }, q, keys, values)
					requireClose(t, wantQ, q.numbers(b, weights.F32), weights.F32, what)
					requireClose(t, inCache(wantK, heads, cells, blocks), keys.numbers(b, act), act, what)
					requireClose(t, inCache(wantV, heads, cells, blocks), values.numbers(b, act), act, what)
				}
			}
		}
	}
}
