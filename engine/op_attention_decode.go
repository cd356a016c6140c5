package engine

import (
	"fmt"
	"unsafe"

	"loquetier/engine/vk"
)

// AttentionDecode attends for one query of each sequence.
type AttentionDecode struct {
	Attention
	Tiles   vk.Range // [Count] of (row, position, start in Tables) int32
	Count   int
	Longest int      // keys of the longest sequence
	Splits  int      // workgroups that share a sequence's keys; 0: chosen from Longest
	Scratch vk.Range // at least DecodeScratch bytes, float32
	Counts  vk.Range // [Count * Key] uint32, zero before and after

	// Rope, where FusesRope, is done in the same dispatch for the rows of the
	// tiles. Q and Cells are then ignored, and so is Rope.Q.
	Rope *Rope
}

type decodePush struct {
	q, keys, values, y, tiles, tables, parts, counters uint64
	kvHeads, splits                                    uint32
	scale                                              float32
	window                                             uint32
	turns, qNorm, kNorm                                uint64 // these and eps: not in attention_decode.comp
	eps                                                float32
	_                                                  uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(decodePush{})

// DecodeSplits is how many workgroups share each sequence's keys: enough to
// keep the device busy, none shorter than a chunk.
func (k *Kernels) DecodeSplits(sequences, keyHeads, longest int) int {
	t := k.Tuning
	return max(1, min(longest/t.DecodeChunk, ceil(t.DecodeGroups, sequences*keyHeads)))
}

// DecodeScratch is the bytes of Scratch for a number of sequences and splits.
func DecodeScratch(h Heads, sequences, splits int) int {
	return 4 * sequences * h.Query * splits * (h.Size + 4)
}

// AttentionDecode records the op.
func (k *Kernels) AttentionDecode(rec *vk.Recorder, a AttentionDecode) error {
	if a.Splits == 0 {
		a.Splits = k.DecodeSplits(a.Count, a.Key, a.Longest)
	}
	if err := k.checkDecode(a); err != nil {
		return err
	}
	p, err := k.decodePipeline(a)
	if err != nil {
		return err
	}
	push := decodePush{
		q: a.Q.Address, keys: a.Keys.Address, values: a.Values.Address, y: a.Y.Address,
		tiles: a.Tiles.Address, tables: a.Tables.Address, parts: a.Scratch.Address, counters: a.Counts.Address,
		kvHeads: uint32(a.Key), splits: uint32(a.Splits), scale: a.scale(), window: uint32(a.Window),
	}
	reads, writes := []vk.Range{a.Q, a.Keys, a.Values, a.Tiles, a.Tables}, []vk.Range{a.Y}
	if r := a.Rope; r != nil {
		push.q, push.turns, push.qNorm, push.kNorm, push.eps = r.QKV.Address, r.Turns.Address, r.QNorm.Address, r.KNorm.Address, r.Eps
		reads = append(reads[1:], present(r.QKV, r.Turns, r.QNorm, r.KNorm)...)
		writes = append(writes, a.Keys, a.Values)
	}
	if a.Splits > 1 {
		writes = append(writes, a.Scratch, a.Counts)
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(a.Count), uint32(a.Key), uint32(a.Splits)},
		Reads:  reads, Writes: writes,
		Work: vk.Work{
			Bytes: 2 * float64(a.Count*a.Key*a.Size*k.Act.Size()) * float64(a.Longest),
			Flops: 4 * float64(a.Count*a.Query*a.Size) * float64(a.Longest),
		},
	})
	return nil
}

func (k *Kernels) checkDecode(a AttentionDecode) error {
	const op = "attention_decode"
	fields := []field{{"Tiles", a.Tiles, 12 * a.Count}}
	if a.Splits > 1 {
		fields = append(fields, field{"Scratch", a.Scratch, DecodeScratch(a.Heads, a.Count, a.Splits)}, field{"Counts", a.Counts, 4 * a.Count * a.Key})
	}
	if a.Rope != nil {
		a.Q = a.Rope.QKV // which is larger
		if !k.FusesRope(a.Heads) {
			return fmt.Errorf("BUG: %s: cannot rotate heads %+v", op, a.Heads)
		}
		r := *a.Rope
		r.Q, r.Cells = a.Rope.QKV, r.Positions
		if err := k.checkRope(r); err != nil {
			return err
		}
	}
	return firstError(positive(op, a.Count, a.Longest, a.Splits), k.checkAttention(op, a.Attention, fields...))
}
