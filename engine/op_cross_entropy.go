package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// CrossEntropy is the log-probability of each row's target, and the gradient
// of its negative in place of the logits.
type CrossEntropy struct {
	Logits  vk.Range // [Rows, Vocab] float32, replaced by softmax - onehot(target)
	Targets vk.Range // [Rows] int32 in [0, Vocab): the caller checks
	Logs    vk.Range // [Rows] float32, natural

	Rows, Vocab int
}

type crossEntropyPush struct {
	logits, targets, logs uint64
	rows, vocab           uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(crossEntropyPush{})

// CrossEntropy records the op.
func (k *Kernels) CrossEntropy(rec *vk.Recorder, c CrossEntropy) error {
	const op = "cross_entropy"
	logits, row := field{"Logits", c.Logits, 4 * c.Rows * c.Vocab}, 4*c.Rows
	if err := firstError(positive(op, c.Rows, c.Vocab), require(op, logits, field{"Targets", c.Targets, row})); err != nil {
		return err
	}
	if c.Logs.Size < uint64(row) {
		return require(op, field{"Logs", c.Logs, row})
	}
	p, err := k.pipeline(op, k.Tuning.SampleWorkgroup)
	if err != nil {
		return err
	}
	push := crossEntropyPush{logits: c.Logits.Address, targets: c.Targets.Address, logs: c.Logs.Address, rows: uint32(c.Rows), vocab: uint32(c.Vocab)}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(c.Rows),
		Reads: []vk.Range{c.Logits, c.Targets}, Writes: []vk.Range{c.Logits, c.Logs}, Work: vk.Work{Bytes: float64(16 * c.Rows * c.Vocab)},
	})
	return nil
}
