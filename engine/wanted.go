package engine

import (
	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// Behind its attention the last layer serves nobody but the rows whose logits are
// wanted. Where these are few, as the last ones of prompts are, they are gathered, and its
// products are computed for them alone.

// leastForWanted is the number of rows that a step must have: fewer save less than the
// two gathers cost.
const leastForWanted = 16

// arrangeWanted lays out the rows whose logits are wanted by themselves, if that
// is worth while. They go on in the memory of the product of q, k and v, which must hold them.
func (e *Engine) arrangeWanted(l *layout, slots []int32) {
	c, n := e.checkpointConfig, len(l.wants)
	if l.train != nil || l.rows < leastForWanted || 2*n > l.rows || 2*(c.Heads+2*c.KVHeads)*c.HeadDim < c.HiddenSize {
		return
	}
	w := &layout{shape: shape{rows: n, maxRank: l.maxRank, gains: l.gains}}
	l.wanted = w
	if n == 0 {
		return
	}
	own, order := make([]int32, n), make([]int32, n)
	for i, want := range l.wants {
		own[i], order[i] = slots[want.row], int32(i)
		w.adapters = w.adapters || own[i] != batch.Base
	}
	l.gathered, l.lists = l.lists, add(&e.frame.tables, order)
	if w.adapters {
		e.arrangeSlots(w, own, 0)
	}
}

// lastLayer records the last layer where the wanted rows are laid out by themselves.
func (e *Engine) lastLayer(rec *vk.Recorder, p pass, i int) error {
	if err := e.attended(rec, p, i); err != nil || p.wanted.rows == 0 {
		return err
	}
	c, act, list := e.checkpointConfig, e.precision.Act.Size(), p.at(p.gathered)
	q, rows := c.Heads*c.HeadDim, p.wanted.rows
	p.wanted.input = p.input
	w := pass{layout: p.wanted, x: e.wantedStream(), acts: p.acts}
	att := e.rows(p.acts.q, rows, q, act) // the rotated queries are used up
	return firstError(
		e.kernels.Gather(rec, Gather{X: e.stream(p.x, p.rows), List: list, Y: e.stream(w.x, rows), Rows: rows, Width: c.HiddenSize, Size: 4}),
		e.kernels.Gather(rec, Gather{X: e.rows(p.acts.att, p.rows, q, act), List: list, Y: att, Rows: rows, Width: q, Size: act}),
		e.projected(rec, w, i, att),
		e.gated(rec, w, i),
		e.down(rec, w, i),
	)
}

// wantedStream is where the wanted rows' residual stream goes on.
func (e *Engine) wantedStream() vk.Buffer {
	if e.checkpointConfig.QKNorm {
		return e.arena.shared.qkv
	}
	return e.arena.qkv
}

// answers is the residual stream behind the last layer, of which l.lists are the wanted rows.
func (e *Engine) answers(l *layout) vk.Range {
	if l.wanted != nil {
		return e.stream(e.wantedStream(), l.wanted.rows)
	}
	return e.stream(e.arena.x, l.rows)
}
