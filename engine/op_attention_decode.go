package engine

import (
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
}

type decodePush struct {
	q, keys, values, y, tiles, tables, parts, counters uint64
	kvHeads, splits                                    uint32
	scale                                              float32
	window                                             uint32
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
	const op = "attention_decode"
	splits := a.Splits
	if splits == 0 {
		splits = k.DecodeSplits(a.Count, a.Key, a.Longest)
	}
	fields := []field{{"Tiles", a.Tiles, 12 * a.Count}}
	if splits > 1 {
		fields = append(fields, field{"Scratch", a.Scratch, DecodeScratch(a.Heads, a.Count, splits)}, field{"Counts", a.Counts, 4 * a.Count * a.Key})
	}
	if err := firstError(positive(op, a.Count, a.Longest, splits), k.checkAttention(op, a.Attention, fields...)); err != nil {
		return err
	}
	p, err := k.pipeline(k.names.decode, k.Tuning.DecodeWorkgroup, uint32(a.Size), uint32(a.Query/a.Key), k.Tuning.DecodePer)
	if err != nil {
		return err
	}
	push := decodePush{
		q: a.Q.Address, keys: a.Keys.Address, values: a.Values.Address, y: a.Y.Address,
		tiles: a.Tiles.Address, tables: a.Tables.Address, parts: a.Scratch.Address, counters: a.Counts.Address,
		kvHeads: uint32(a.Key), splits: uint32(splits), scale: a.scale(), window: uint32(a.Window),
	}
	writes := []vk.Range{a.Y}
	if splits > 1 {
		writes = append(writes, a.Scratch, a.Counts)
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(a.Count), uint32(a.Key), uint32(splits)},
		Reads:  []vk.Range{a.Q, a.Keys, a.Values, a.Tiles, a.Tables}, Writes: writes,
		Work: vk.Work{
			Bytes: 2 * float64(a.Count*a.Key*a.Size*k.Act.Size()) * float64(a.Longest),
			Flops: 4 * float64(a.Count*a.Query*a.Size) * float64(a.Longest),
		},
	})
	return nil
}
