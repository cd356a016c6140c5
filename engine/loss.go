package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// loss records the cross-entropy of the training rows' targets and its gradient
// with respect to the residual stream, some targets at a time, so that memory
// never holds logits of more rows; rows without targets cost nothing.
func (e *Engine) loss(rec *vk.Recorder, step *layout) error {
	l := step.train
	if l == nil {
		return nil
	}
	n := len(l.targets)
	if err := e.makeRoom(&e.frame.losses, vk.Download, 4*n); err != nil {
		return fmt.Errorf("losses: %w", err)
	}
	rec.Fill(e.tape.dx, 0)
	if e.tape.dxCopy.Size > 0 {
		rec.Fill(e.tape.dxCopy, 0)
	}
	for from := 0; from < n; from += e.logitRows() {
		if err := e.lossPiece(rec, l, from, min(from+e.logitRows(), n)-from); err != nil {
			return err
		}
		if err := e.breathe(rec); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) lossPiece(rec *vk.Recorder, l *training, from, n int) error {
	c, a, t := e.checkpointConfig, &e.arena, &e.tape
	hl := e.rows(a.hl, n, c.HiddenSize, e.precision.Act.Size())
	d := e.rows(t.dlogits, n, quadded(c.VocabSize), e.precision.Act.Size())
	logits, dhl := e.rows(a.logits, n, c.VocabSize, 4), e.rows(t.dhl, n, c.HiddenSize, 4)
	piece := func(p entry) vk.Range { return l.layout.at(entry{p.at + 4*from, 4 * n}) }
	x, g, eps := e.rows(a.x, l.layout.rows, c.HiddenSize, 4), e.model.norm.All(), float32(c.NormEps)
	return firstError(
		e.kernels.Norm(rec, Norm{X: x, G: g, Y: hl, List: piece(l.targetRows), Eps: eps, Rows: n, Width: c.HiddenSize}),
		e.kernels.Linear(rec, Linear{Product: e.model.head, X: hl, Y: logits, Rows: n}),
		e.kernels.CrossEntropy(rec, CrossEntropy{
			Logits: logits, D: d, Targets: piece(l.targetTokens), Logs: e.frame.losses.Span(uint64(4*from), uint64(4*n)), Rows: n, Vocab: c.VocabSize,
		}),
		e.kernels.LinearGrad(rec, LinearGrad{Product: e.model.head, DY: d, DX: dhl, Rows: n}),
		e.kernels.NormGrad(rec, NormGrad{
			X: x, G: g, DY: dhl, DX: e.rows(t.dx, l.layout.rows, c.HiddenSize, 4), Copy: e.dxCopy(l.layout.rows), List: piece(l.targetRows),
			Eps: eps, Rows: n, Width: c.HiddenSize,
		}),
	)
}

// readLosses hands the targets' log-probabilities to their wants.
func (f *frame) readLosses(r *batch.Result) {
	for i, w := range f.layout.train.targets {
		log := math.Float32frombits(binary.LittleEndian.Uint32(f.losses.Host[4*i:]))
		r.Picks[w.span][w.index] = batch.Pick{Token: w.Target, LogProb: log}
	}
}
