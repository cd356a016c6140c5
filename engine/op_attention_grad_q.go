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
	D       vk.Range // [Rows, (Query + 2 Shares Key) * Size] float32: gradients of rotated q (AttentionGradQ), of rotated k and of v (AttentionGradKV), side by side
	Tiles   vk.Range // [Count] of (first row, queries, 0: the position of the first, start in Tables) int32
	Tables  vk.Range // int32 block tables, entries below Blocks: the caller checks
	Count   int
	Longest int // most queries of a tile
	Window  int // keys a query sees, itself included; 0: all
	Rows    int
	Span    int // keys of the longest tile's last query, for the profile
	Shares  int // partial sums of the gradients of k and v, as GradShares has it; 0: 1
}

type attentionGradPush struct {
	q, keys, values, y, dy, stats, delta, d, tiles, tables uint64
	heads, kvHeads                                         uint32
	scale                                                  float32
	window, columns                                        uint32
	_                                                      uint32
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
			field{"D", a.D, 4 * a.Rows * a.columns() * a.Size},
			field{"Tiles", a.Tiles, 16 * a.Count}))
}

func (a AttentionGrad) push() attentionGradPush {
	return attentionGradPush{
		q: a.Q.Address, keys: a.Cache.Keys.Address, values: a.Values.Address, y: a.Y.Address, dy: a.DY.Address,
		stats: a.Stats.Address, delta: a.Delta.Address, d: a.D.Address, tiles: a.Tiles.Address, tables: a.Tables.Address,
		heads: uint32(a.Query), kvHeads: uint32(a.Key), scale: Attention{Heads: a.Heads}.scale(), window: uint32(a.Window), columns: uint32(a.columns()),
	}
}

// columns is the number of heads in a row of D.
func (a AttentionGrad) columns() int { return a.Query + 2*max(1, a.Shares)*a.Key }

// work is that of a number of products over the pairs of queries and keys.
func (a AttentionGrad) work(products int) vk.Work {
	return vk.Work{Flops: float64(products) * float64(a.Rows) * float64(a.Query*a.Size) * float64(a.Span)}
}

// AttentionGradQ records the gradient by the rotated queries, and Delta.
func (k *Kernels) AttentionGradQ(rec *vk.Recorder, a AttentionGrad) error {
	pass := attentionPass{op: "attention_grad_q", reads: []vk.Range{a.Y}, writes: []vk.Range{a.Delta, a.D}, products: 3}
	if tile, ok := k.gradQMatrix(a); ok {
		return k.attentionGrad(rec, a, k.gradTile(pass, "attention_grad_q_matrix", tile, a, a.Query, headsTogether(tile.Subgroups, a.Heads)))
	}
	return k.attentionGrad(rec, a, k.gradLanes(pass, "attention_grad_q", a, k.Tuning.PrefillWorkgroup, k.Tuning.PrefillLanes, a.Query))
}

// attentionPass is what the kernels of attention's gradient differ in.
type attentionPass struct {
	op            string
	reads, writes []vk.Range // reads beside those of all
	products      int        // over the pairs of queries and keys, for the profile

	module       string
	constants    []uint32
	groups, rows int // workgroups for heads; rows of a workgroup
}

// gradLanes is a pass by kernels whose lanes share a head.
func (k *Kernels) gradLanes(pass attentionPass, stem string, a AttentionGrad, workgroup, wish uint32, heads int) attentionPass {
	lanes := headLanes(wish, a.Size)
	pass.module = k.byAct(stem)
	if lanes > 1 {
		pass.module += "-split"
	}
	pass.constants = []uint32{workgroup, uint32(a.Size), lanes, k.Tuning.GradPer}
	pass.groups, pass.rows = heads, int(workgroup/lanes)
	return pass
}

func (k *Kernels) attentionGrad(rec *vk.Recorder, a AttentionGrad, pass attentionPass) error {
	if err := k.checkAttentionGrad(pass.op, a); err != nil {
		return err
	}
	p, err := k.pipeline(pass.module, pass.constants...)
	if err != nil {
		return err
	}
	push := a.push()
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(a.Count), uint32(pass.groups), uint32(ceil(a.Longest, pass.rows))},
		Reads:  append([]vk.Range{a.Q, a.Cache.Keys, a.Values, a.DY, a.Stats, a.Tiles, a.Tables}, pass.reads...),
		Writes: pass.writes, Work: a.work(pass.products),
	})
	return nil
}
