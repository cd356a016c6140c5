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

	Rows, LogitsRows, Vocab, Stride int
}

type samplePush struct {
	logits, rows, edits, ids, logs uint64
	vocab, stride                  uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(samplePush{})

const sampleRowBytes = int(unsafe.Sizeof(SampleRow{}))

// Sample records the op.
func (k *Kernels) Sample(rec *vk.Recorder, s Sample) error {
	if err := firstError(positive("sample", s.Rows, s.LogitsRows, s.Vocab, s.Stride), require("sample",
		field{"Logits", s.Logits, 4 * s.LogitsRows * s.Vocab},
		field{"Params", s.Params, sampleRowBytes * s.Rows},
		field{"IDs", s.IDs, 4 * s.Rows * s.Stride}, field{"Logs", s.Logs, 4 * s.Rows * s.Stride})); err != nil {
		return err
	}
	p, err := k.pipeline("sample", k.Tuning.SampleWorkgroup)
	if err != nil {
		return err
	}
	push := samplePush{
		logits: s.Logits.Address, rows: s.Params.Address, edits: s.Edits.Address, ids: s.IDs.Address, logs: s.Logs.Address,
		vocab: uint32(s.Vocab), stride: uint32(s.Stride),
	}
	writes := []vk.Range{s.IDs, s.Logs}
	if s.Edits.Size > 0 {
		writes = append(writes, s.Edits, s.Logits)
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{uint32(s.Rows), 1, 1},
		Reads: []vk.Range{s.Logits, s.Params}, Writes: writes,
		Work: vk.Work{Bytes: 4 * float64(s.Rows*s.Vocab)},
	})
	return nil
}
