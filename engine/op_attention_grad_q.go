package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// AttentionGrad is what both kernels of attention's backward need: whole
// sequences, whose keys and values are in the cache and whose queries are all rows
// of the step. Probabilities are recomputed from Stats (Dao et al. 2022), so memory
// is linear in length.
type AttentionGrad struct {
	Heads
	Cache
	Q       vk.Range // [Rows, Query * Size] float32, rotated
	Y       vk.Range // [Rows, Query * Size] in the activation type: attention's output
	DY      vk.Range // [Rows, Query * Size] float32: its gradient
	Stats   vk.Range // [Rows, Query] float32, from the forward pass
	Delta   vk.Range // [Rows, Query] float32: DY . Y by head, written by AttentionGradQ, read by AttentionGradKV
	D       vk.Range // [Rows, (Query + 2 Key) * Size] float32: gradients of rotated q (AttentionGradQ), of rotated k and of v (AttentionGradKV), side by side
	Tiles   vk.Range // [Count] of (first row, queries, 0: the position of the first, start in Tables) int32
	Tables  vk.Range // int32 block tables, entries below Blocks: the caller checks
	Count   int
	Longest int // most queries of a tile
	Window  int // keys a query sees, itself included; 0: all
	Rows    int
	Span    int // keys of the longest tile's last query, for the profile
}

type attentionGradPush struct {
	q, keys, values, y, dy, stats, delta, d, tiles, tables uint64
	heads, kvHeads                                         uint32
	scale                                                  float32
	window                                                 uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(attentionGradPush{})

func (k *Kernels) checkAttentionGrad(op string, a AttentionGrad) error {
	all := Attention{Heads: a.Heads, Cache: a.Cache, Q: a.Q, Y: a.Y, Window: a.Window, Rows: a.Rows}
	return firstError(
		positive(op, a.Count, a.Longest),
		k.checkAttention(op, all,
			field{"DY", a.DY, 4 * a.Rows * a.Query * a.Size},
			field{"Stats", a.Stats, 4 * a.Rows * a.Query},
			field{"Delta", a.Delta, 4 * a.Rows * a.Query},
			field{"D", a.D, 4 * a.Rows * (a.Query + 2*a.Key) * a.Size},
			field{"Tiles", a.Tiles, 16 * a.Count}))
}

func (a AttentionGrad) push() attentionGradPush {
	return attentionGradPush{
		q: a.Q.Address, keys: a.Cache.Keys.Address, values: a.Values.Address, y: a.Y.Address, dy: a.DY.Address,
		stats: a.Stats.Address, delta: a.Delta.Address, d: a.D.Address, tiles: a.Tiles.Address, tables: a.Tables.Address,
		heads: uint32(a.Query), kvHeads: uint32(a.Key), scale: Attention{Heads: a.Heads}.scale(), window: uint32(a.Window),
	}
}

// work is that of a number of products over the pairs of queries and keys.
func (a AttentionGrad) work(products int) vk.Work {
	return vk.Work{Flops: float64(products) * float64(a.Rows) * float64(a.Query*a.Size) * float64(a.Span)}
}

// AttentionGradQ records the gradient by the rotated queries, and Delta.
func (k *Kernels) AttentionGradQ(rec *vk.Recorder, a AttentionGrad) error {
	return k.attentionGrad(rec, a, attentionPass{
		op: "attention_grad_q", name: k.names.attentionGradQ, split: k.names.attentionGradQSplit,
		workgroup: k.Tuning.PrefillWorkgroup, lanes: k.Tuning.PrefillLanes, heads: a.Query,
		reads: []vk.Range{a.Y}, writes: []vk.Range{a.Delta, a.D}, products: 3,
	})
}

// attentionPass is what the two kernels of attention's gradient differ in.
type attentionPass struct {
	op, name, split  string // split: the module for heads that lanes share
	workgroup, lanes uint32
	heads            int        // that workgroups are for
	reads, writes    []vk.Range // reads beside those of both
	products         int        // over the pairs of queries and keys, for the profile
}

func (k *Kernels) attentionGrad(rec *vk.Recorder, a AttentionGrad, pass attentionPass) error {
	if err := k.checkAttentionGrad(pass.op, a); err != nil {
		return err
	}
	name, lanes := pass.name, headLanes(pass.lanes, a.Size)
	if lanes > 1 {
		name = pass.split
	}
	p, err := k.pipeline(name, pass.workgroup, uint32(a.Size), lanes, k.Tuning.GradPer)
	if err != nil {
		return err
	}
	push := a.push()
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(a.Count), uint32(pass.heads), uint32(ceil(a.Longest, int(pass.workgroup/lanes)))},
		Reads:  append([]vk.Range{a.Q, a.Cache.Keys, a.Values, a.DY, a.Stats, a.Tiles, a.Tables}, pass.reads...),
		Writes: pass.writes, Work: a.work(pass.products),
	})
	return nil
}
