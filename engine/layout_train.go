package engine

import (
	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// training is the part of a step that has a backward pass: its first rows. It
// lasts until the pass is over, with tables of its own.
type training struct {
	layout *layout // of the training rows alone
	lowest int     // the lowest layer that one of the slots adapts
	left   int     // layers whose slices of the backward pass have not been started: the lower ones

	slots        []int32        // that are trained
	adapts       [][groups]bool // by layer: one of the slots adapts a module of the group
	gradients    []vk.Range     // what the backward pass adds to
	segments     entry          // (first row, rows, slot)
	runs         []int32        // the segments
	targets      []want         // rows that have a loss
	targetRows   entry          // the same by themselves
	targetTokens entry
}

// training is the step's training part, made when the first row needs it.
func (l *layout) training() *training {
	if l.train == nil {
		l.train = &training{layout: &layout{shape: shape{adapters: true}}}
		l.train.layout.train = l.train
	}
	return l.train
}

// trainRows is the number of training rows, which come first.
func (l *layout) trainRows() int {
	if l.train == nil {
		return 0
	}
	return l.train.layout.rows
}

// addSequence counts a training span among the training rows, of which it is
// the last so far. Spans of one slot are neighbours.
func (l *layout) addSequence(s *batch.Span) {
	t, rows := l.training(), int32(len(s.Tokens))
	if n := len(t.runs); n > 0 && t.runs[n-1] == int32(s.Slot) {
		t.runs[n-2] += rows
	} else {
		t.runs = append(t.runs, int32(l.rows), rows, int32(s.Slot))
		t.slots = append(t.slots, int32(s.Slot))
	}
	t.layout.rows += len(s.Tokens)
	t.layout.prefill = l.prefill // training spans come first
}

// arrangeTraining completes the training part's tables, most of which are the
// beginnings of the whole step's.
func (e *Engine) arrangeTraining(l *layout, slots []int32) {
	if l.train == nil {
		return
	}
	t, own := l.train, l.train.layout
	t.left = e.Slices()
	own.maxRank, own.tileRows, own.tall, own.run = l.maxRank, l.tileRows, l.tall, alignedRun(slots[:own.rows])
	own.tokens, own.positions, own.cells, own.slots = l.tokens, l.positions, l.cells, l.slots
	own.blockTables, own.prefill.list, own.tiles = l.blockTables, l.prefill.list, l.tiles
	own.tileCount = len(cutTiles(slots[:own.rows], own.tileRows, own.rows)) / 3
	t.segments = add(&e.frame.tables, t.runs)
	var rows, tokens []int32
	for _, w := range t.targets {
		rows, tokens = append(rows, int32(w.row)), append(tokens, w.Target)
	}
	t.targetRows, t.targetTokens = add(&e.frame.tables, rows), add(&e.frame.tables, tokens)
	e.findGradients(t)
}

// findGradients lists what the slots adapt.
func (e *Engine) findGradients(t *training) {
	t.adapts, t.lowest = make([][groups]bool, e.checkpointConfig.Layers), e.checkpointConfig.Layers
	for _, slot := range t.slots {
		trainee := e.residents[slot].trainee
		t.gradients = append(t.gradients, trainee.gradient())
		for _, m := range trainee.modules {
			t.adapts[m.Layer][m.Module.group()] = true
			t.lowest = min(t.lowest, m.Layer)
		}
	}
}
