package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// optimize records the updates of the step: the norms of all gradients, then
// all weights, one dispatch each.
func (e *Engine) optimize(rec *vk.Recorder, rows entry, updates []batch.Update) error {
	if len(updates) == 0 {
		return nil
	}
	var gradients, written []vk.Range
	longest := 0
	for _, u := range updates {
		t := e.residents[u.Slot].trainee
		gradients, written = append(gradients, t.gradient()), append(written, t.memory.All(), e.residents[u.Slot].memory.All())
		longest = max(longest, t.count)
	}
	partials := e.tape.partials.All()
	return firstError(
		e.kernels.GradNorm(rec, GradNorm{Rows: e.frame.layout.at(rows), Updates: len(updates), Reads: gradients, Writes: []vk.Range{partials}}),
		e.kernels.Optimizer(rec, OptimizerStep{
			Rows: e.frame.layout.at(rows), Norms: e.frame.norms.Span(0, uint64(4*len(updates))), Updates: len(updates), Longest: longest,
			Reads: append(gradients, partials), Writes: written,
		}),
	)
}

// arrangeUpdates adds the updates to the step's input, with the addresses of
// what they change.
func (e *Engine) arrangeUpdates(updates []batch.Update) (entry, error) {
	n := len(updates)
	if n == 0 {
		return entry{}, nil
	}
	if err := firstError(
		e.makeRoom(&e.frame.norms, vk.Download, 4*n), e.makeRoom(&e.tape.partials, vk.Local, 4*GradParts*n)); err != nil {
		return entry{}, fmt.Errorf("updates: %w", err)
	}
	rows := make([]OptimizerRow, n)
	for i, u := range updates {
		r := e.residents[u.Slot]
		rows[i] = NewOptimizerRow(u)
		r.trainee.address(&rows[i], r)
		rows[i].Partials = e.tape.partials.Address + uint64(4*GradParts*i)
	}
	return add(&e.frame.tables, rows), nil
}

// readNorms are the norms of the step's updates.
func (f *frame) readNorms() []float64 {
	norms := make([]float64, len(f.step.Updates))
	for i := range norms {
		norms[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(f.norms.Host[4*i:])))
	}
	return norms
}
