package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// SampleRow mirrors Row in sample.comp.
type SampleRow struct {
	Temperature                     float32
	TopK                            uint32
	TopP, MinP                      float32
	Repetition, Presence, Frequency float32
	SeedLow, SeedHigh, Step         uint32
	EditsAt, Edits                  uint32
	TopN                            uint32
	Target                          int32
	LogitsRow                       uint32
	_                               uint32
}

// SampleEdit mirrors Edit in sample.comp. The top bit of Seen: in the prompt.
type SampleEdit struct {
	Token, Seen uint32
	Bias        float32
	Raw         float32
}

// seenInPrompt is the top bit of SampleEdit.Seen.
const seenInPrompt = 1 << 31

// Sample chooses or scores a token for each row.
type Sample struct {
	Logits vk.Range // [LogitsRows, Vocab] float32; rows with edits are changed
	Params vk.Range // [Rows] SampleRow: LogitsRow, TopN and edits in range: the caller checks
	Edits  vk.Range // SampleEdit
	IDs    vk.Range // [Rows, Stride] int32: the token, then the TopN most likely
	Logs   vk.Range // beside IDs: float32 natural log-probabilities of the raw logits
	Splits int      // workgroups that share a row; 0: chosen
	Shares vk.Range // at least SampleScratch bytes, where there are several
	Counts vk.Range // [Rows] uint32, zero before and after; beside Shares

	Rows, LogitsRows, Vocab, Stride int
}

type samplePush struct {
	logits, rows, edits, ids, logs, shares, counts uint64
	vocab, stride                                  uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(samplePush{})

const sampleRowBytes = int(unsafe.Sizeof(SampleRow{}))

// shareBytes is the size of a Share in share.glsl.
const shareBytes = 32

// SampleScratch is the bytes of Shares for a number of rows, whatever the
// number of workgroups that is chosen for each.
func (k *Kernels) SampleScratch(rows int) int { return shareBytes * (rows + k.Tuning.SampleGroups) }

// sampleSplits is how many workgroups share a row: enough to keep the device
// busy, each with a share that is worth it.
func (k *Kernels) sampleSplits(rows, vocab int) int {
	t := k.Tuning
	return max(1, min(vocab/t.SampleShare, ceil(t.SampleGroups, rows)))
}

// Sample records the op.
func (k *Kernels) Sample(rec *vk.Recorder, s Sample) error {
	if s.Splits == 0 {
		s.Splits = k.sampleSplits(s.Rows, s.Vocab)
	}
	if err := s.check(); err != nil {
		return err
	}
	p, err := k.pipeline("sample", k.Tuning.SampleWorkgroup)
	if err != nil {
		return err
	}
	push := samplePush{
		logits: s.Logits.Address, rows: s.Params.Address, edits: orElse(s.Edits, s.Params), ids: s.IDs.Address, logs: s.Logs.Address,
		shares: orElse(s.Shares, s.Params), counts: s.Counts.Address,
		vocab: uint32(s.Vocab), stride: uint32(s.Stride),
	}
	writes := []vk.Range{s.IDs, s.Logs}
	if s.Edits.Size > 0 {
		writes = append(writes, s.Edits, s.Logits)
	}
	if s.Splits > 1 {
		writes = append(writes, s.Shares, s.Counts)
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{uint32(s.Rows), uint32(s.Splits), 1},
		Reads: []vk.Range{s.Logits, s.Params}, Writes: writes,
		Work: vk.Work{Bytes: 4 * float64(s.Rows*s.Vocab)},
	})
	return nil
}

func (s Sample) check() error {
	fields := []field{
		{"Logits", s.Logits, 4 * s.LogitsRows * s.Vocab}, {"Params", s.Params, sampleRowBytes * s.Rows},
		{"IDs", s.IDs, 4 * s.Rows * s.Stride}, {"Logs", s.Logs, 4 * s.Rows * s.Stride},
	}
	if s.Splits > 1 {
		fields = append(fields, field{"Shares", s.Shares, shareBytes * s.Rows * s.Splits}, field{"Counts", s.Counts, 4 * s.Rows})
	}
	return firstError(positive("sample", s.Rows, s.LogitsRows, s.Vocab, s.Stride, s.Splits), require("sample", fields...))
}
