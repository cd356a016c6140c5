package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// CrossEntropy scores a target for each row of logits, and gives the gradient
// of the target's negative log-probability with respect to the logits: softmax -
// onehot(target). A logit may be -infinity where it is not the target's.
type CrossEntropy struct {
	Logits  vk.Range // [Rows, Vocab] float32
	D       vk.Range // [Rows, Vocab rounded up to a multiple of 4] in the activation type: the gradient
	Targets vk.Range // [Rows] int32 in [0, Vocab): the caller checks
	Logs    vk.Range // [Rows] float32: natural log-probabilities

	Rows, Vocab int
}

type crossEntropyPush struct {
	logits, d, targets, logs uint64
	rows, vocab              uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(crossEntropyPush{})

// CrossEntropy records the op.
func (k *Kernels) CrossEntropy(rec *vk.Recorder, c CrossEntropy) error {
	if err := firstError(positive("cross_entropy", c.Rows, c.Vocab), require("cross_entropy",
		field{"Logits", c.Logits, 4 * c.Rows * c.Vocab}, field{"D", c.D, k.Act.Size() * c.Rows * quadded(c.Vocab)},
		field{"Targets", c.Targets, 4 * c.Rows}, field{"Logs", c.Logs, 4 * c.Rows})); err != nil {
		return err
	}
	p, err := k.pipeline(k.byAct("cross_entropy"), k.Tuning.CrossEntropy.Workgroup, bit(c.Vocab%4 == 0), k.Tuning.CrossEntropy.Ahead)
	if err != nil {
		return err
	}
	push := crossEntropyPush{c.Logits.Address, c.D.Address, c.Targets.Address, c.Logs.Address, uint32(c.Rows), uint32(c.Vocab)}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(c.Rows),
		Reads: []vk.Range{c.Logits, c.Targets}, Writes: []vk.Range{c.D, c.Logs},
		Work: vk.Work{Bytes: float64((2*4 + k.Act.Size()) * c.Rows * c.Vocab)},
	})
	return nil
}

// quadded is a width rounded up to a multiple of 4, which rows then start at.
func quadded(width int) int { return ceil(width, 4) * 4 }
