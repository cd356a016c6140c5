package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// sample records logits and picks for the rows that are wanted, some at
// a time: no logits are computed for any other row.
func (e *Engine) sample(rec *vk.Recorder, l *layout) error {
	if len(l.wants) == 0 {
		return nil
	}
	f, n := e.frame, len(l.wants)
	if err := firstError(
		e.makeRoom(&f.ids, vk.Download, 4*n*l.stride), e.makeRoom(&f.logs, vk.Download, 4*n*l.stride),
		e.makeRoom(&f.kept, vk.Download, 4*l.keeps*e.checkpointConfig.VocabSize)); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	kept := 0
	for from := 0; from < n; from += e.logitRows() {
		to := min(from+e.logitRows(), n)
		if err := e.samplePiece(rec, l, from, to); err != nil {
			return err
		}
		kept = e.keepLogits(rec, l.wants[from:to], kept)
	}
	return nil
}

func (e *Engine) samplePiece(rec *vk.Recorder, l *layout, from, to int) error {
	c, a, n := e.checkpointConfig, &e.arena, to-from
	hl := e.rows(a.hl, n, c.HiddenSize, e.precision.Act.Size())
	logits := e.rows(a.logits, n, c.VocabSize, 4)
	piece := func(p entry, size int) vk.Range { return l.at(entry{p.at + from*size, n * size}) }
	result := func(b vk.Buffer) vk.Range { return b.Span(uint64(4*from*l.stride), uint64(4*n*l.stride)) }
	return firstError(
		e.kernels.Norm(rec, Norm{
			X: e.answers(l), G: e.model.norm.All(), Y: hl, List: piece(l.lists, 4),
			Eps: float32(c.NormEps), Rows: n, Width: c.HiddenSize,
		}),
		e.kernels.Linear(rec, Linear{
			Product: e.model.head, X: hl, Y: logits, Rows: n, Epilogue: Plain, Scratch: a.sums.All(), Counts: a.sumCounts.All(),
		}),
		e.kernels.Sample(rec, Sample{
			Logits: logits, Params: piece(l.params, sampleRowBytes), Edits: l.at(l.edits),
			IDs: result(e.frame.ids), Logs: result(e.frame.logs), Rows: n, LogitsRows: n, Vocab: c.VocabSize, Stride: l.stride,
			Shares: a.shares.All(), Counts: a.counts.All(),
		}),
	)
}

// keepLogits copies the logits that were asked for to where the host can read
// them, before the next piece overwrites them.
func (e *Engine) keepLogits(rec *vk.Recorder, wants []want, kept int) int {
	size := uint64(4 * e.checkpointConfig.VocabSize)
	for i, w := range wants {
		if w.Logits {
			rec.Copy(e.frame.kept, uint64(kept)*size, e.arena.logits, uint64(i)*size, size)
			kept++
		}
	}
	return kept
}

// results reads back what a step has computed.
func (e *Engine) results(f *frame) *batch.Result {
	l := &f.layout
	r := &batch.Result{Picks: picksFor(f.step), Norms: f.readNorms()}
	kept := 0
	for i, w := range l.wants {
		p := f.pick(i*l.stride, w.TopN)
		if w.Logits {
			p.Logits = f.keptLogits(kept, e.checkpointConfig.VocabSize)
			kept++
		}
		r.Picks[w.span][w.index] = p
	}
	if l.train != nil {
		f.readLosses(r)
	}
	return r
}

// picksFor is room for a step's picks.
func picksFor(step *batch.Step) [][]batch.Pick {
	n := 0
	for i := range step.Spans {
		n += len(step.Spans[i].Wants)
	}
	picks, all := make([][]batch.Pick, len(step.Spans)), make([]batch.Pick, n)
	for i := range step.Spans {
		n := len(step.Spans[i].Wants)
		picks[i], all = all[:n:n], all[n:]
	}
	return picks
}

func (f *frame) pick(at, topN int) batch.Pick {
	id := func(i int) int32 { return int32(binary.LittleEndian.Uint32(f.ids.Host[4*(at+i):])) }
	log := func(i int) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(f.logs.Host[4*(at+i):])) }
	p := batch.Pick{Token: id(0), LogProb: log(0)}
	for i := 1; i <= topN; i++ {
		p.Top = append(p.Top, batch.TokenLogProb{Token: id(i), LogProb: log(i)})
	}
	return p
}

func (f *frame) keptLogits(i, vocab int) []float32 {
	out := make([]float32, vocab)
	copy(vk.Bytes(out), f.kept.Host[4*i*vocab:])
	return out
}
