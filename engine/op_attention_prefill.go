package engine

import (
	"math"
	"unsafe"

	"loquetier/engine/vk"
)

// Attention is what both attention kernels need: causal attention over the
// paged cache, which holds the step's own keys and values already.
type Attention struct {
	Heads
	Cache
	Q      vk.Range // [Rows, Query * Size] float32, rotated
	Y      vk.Range // [Rows, Query * Size] in the activation type
	Tables vk.Range // int32 block tables, entries below Blocks: the caller checks
	Window int      // keys a query sees, itself included; 0: all
	Rows   int
}

func (k *Kernels) checkAttention(op string, a Attention, fields ...field) error {
	cache := a.Cache.bytes(a.Heads, k.Act.Size())
	width := a.Query * a.Size
	return firstError(
		a.Heads.check(op), positive(op, a.Rows, a.Blocks, a.Window+1),
		require(op, append(fields,
			field{"Q", a.Q, 4 * a.Rows * width}, field{"Y", a.Y, a.Rows * width * k.Act.Size()},
			field{"Keys", a.Keys, cache}, field{"Values", a.Values, cache})...))
}

func (a Attention) scale() float32 { return float32(1 / math.Sqrt(float64(a.Size))) }

// AttentionPrefill attends for runs of consecutive queries.
type AttentionPrefill struct {
	Attention
	Tiles   vk.Range // [Count] of (first row, queries, position of the first, start in Tables) int32
	Count   int
	Longest int // most queries of a tile
	Span    int // keys of the longest tile's last query, for the profile

	// Stats is [Rows, Query] float32: the natural log of the softmax's
	// denominator, the sum of exp(q.k / sqrt(Size)), which the backward pass
	// recomputes probabilities from. Null: not wanted.
	Stats vk.Range
}

type prefillPush struct {
	q, keys, values, y, tiles, tables, stats uint64
	heads, kvHeads                           uint32
	scale                                    float32
	window                                   uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(prefillPush{})

// AttentionPrefill records the op.
func (k *Kernels) AttentionPrefill(rec *vk.Recorder, a AttentionPrefill) error {
	const op = "attention_prefill"
	fields := []field{{"Tiles", a.Tiles, 16 * a.Count}}
	if a.Stats.Size > 0 {
		fields = append(fields, field{"Stats", a.Stats, 4 * a.Rows * a.Query})
	}
	if err := firstError(positive(op, a.Count, a.Longest), k.checkAttention(op, a.Attention, fields...)); err != nil {
		return err
	}
	if tile, ok := k.prefillMatrix(a); ok {
		return k.attentionPrefillMatrix(rec, a, tile)
	}
	wg, lanes := k.Tuning.PrefillWorkgroup, headLanes(k.Tuning.PrefillLanes, a.Size)
	name := k.byAct("attention_prefill")
	if lanes > 1 {
		name = k.byAct("attention_prefill") + "-split"
	}
	p, err := k.pipeline(name, wg, uint32(a.Size), lanes, bit(a.Stats.Size > 0))
	if err != nil {
		return err
	}
	a.dispatch(rec, p, a.Query, int(wg/lanes))
	return nil
}

// dispatch records a kernel whose workgroups are for one of groups of heads and
// a number of queries.
func (a AttentionPrefill) dispatch(rec *vk.Recorder, p *vk.Pipeline, groups, queries int) {
	push := prefillPush{
		q: a.Q.Address, keys: a.Cache.Keys.Address, values: a.Values.Address, y: a.Y.Address,
		tiles: a.Tiles.Address, tables: a.Tables.Address, stats: a.Stats.Address,
		heads: uint32(a.Query), kvHeads: uint32(a.Key), scale: a.scale(), window: uint32(a.Window),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(a.Count), uint32(groups), uint32(ceil(a.Longest, queries))},
		Reads:  []vk.Range{a.Q, a.Cache.Keys, a.Values, a.Tiles, a.Tables}, Writes: present(a.Y, a.Stats),
		Work: vk.Work{Flops: 2 * float64(a.Rows) * float64(a.Query*a.Size) * float64(a.Span)},
	})
}

// headLanes is how many lanes share a head: the tuning's wish, as far as the
// head's vec4s divide.
func headLanes(wish uint32, head int) uint32 {
	for wish > 1 && head/4%int(wish) != 0 {
		wish /= 2
	}
	return wish
}
