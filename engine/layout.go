package engine

import "loquetier/engine/batch"

// layout is a step as the kernels see it: rows in the order of the spans, and
// lists of what to do with them.
type layout struct {
	rows     int
	adapters bool // some row has one
	maxRank  int  // largest padded rank among the step's adapters
	gains    bool // some of them have DoRA gains
	run      int  // rows in aligned runs of one slot: a power of two

	tokens, positions, cells, slots entry
	tiles                           entry // shrink
	tileCount, tileRows             int
	blockTables                     entry
	prefill, decode                 runs
	wants                           []want
	lists, params, edits            entry // of the wants
	stride                          int   // of the wants' results
	keeps                           int   // wants that ask for their logits

	train *training // nil without training rows
}

// runs are the queries of one attention kernel.
type runs struct {
	list    entry
	count   int
	longest int // queries of a prefill run; keys of a decode run
	span    int // keys of the last query
}

// want is a row whose logits are wanted: where its answer belongs.
type want struct {
	span, index, row int
	*batch.Want
}

// rowTables gathers the tables by row while walking the spans.
type rowTables struct {
	tokens, positions, cells, slots, blocks []int32
	prefill, decode                         []int32
}

// arrange fills the step's input tables.
func (e *Engine) arrange(step *batch.Step) layout {
	e.tables.reset()
	var l layout
	var t rowTables
	for i := range step.Spans {
		s := &step.Spans[i]
		l.addRuns(&t, s)
		e.addRows(&l, &t, s)
		l.addWants(i, s)
		if s.Kind == batch.Train {
			l.addSequence(s)
		}
		l.rows += len(s.Tokens)
	}
	l.tokens, l.positions, l.cells = add(&e.tables, t.tokens), add(&e.tables, t.positions), add(&e.tables, t.cells)
	l.blockTables, l.prefill.list, l.decode.list = add(&e.tables, t.blocks), add(&e.tables, t.prefill), add(&e.tables, t.decode)
	if l.adapters {
		l.slots = add(&e.tables, t.slots)
		l.run = alignedRun(t.slots)
		l.tileRows = tileRows(t.slots, int(e.kernels.Tuning.ShrinkRows))
		tiles := cutTiles(t.slots, l.tileRows, l.trainRows())
		l.tiles, l.tileCount = add(&e.tables, tiles), len(tiles)/3
	}
	e.arrangeWants(&l)
	e.arrangeTraining(&l, t.slots)
	return l
}

// shrinkTiles are the tiles of the rows' adapters.
func (l *layout) shrinkTiles(e *Engine) Tiles {
	return Tiles{List: e.at(l.tiles), Count: l.tileCount, Rows: l.tileRows}
}

// addWants lists the rows whose logits are wanted: of training rows apart.
func (l *layout) addWants(span int, s *batch.Span) {
	for j := range s.Wants {
		w := want{span, j, l.rows + s.Wants[j].Row, &s.Wants[j]}
		if s.Kind == batch.Train {
			l.training().targets = append(l.training().targets, w)
		} else {
			l.wants = append(l.wants, w)
		}
	}
}

func (e *Engine) addRows(l *layout, t *rowTables, s *batch.Span) {
	for i, token := range s.Tokens {
		p := s.Position + i
		t.tokens = append(t.tokens, token)
		t.positions = append(t.positions, int32(p))
		t.cells = append(t.cells, s.Blocks[p/batch.BlockSize]*batch.BlockSize+int32(p%batch.BlockSize))
		t.slots = append(t.slots, int32(s.Slot))
	}
	if s.Slot != batch.Base {
		l.adapters = true
		l.maxRank = max(l.maxRank, e.residents[s.Slot].maxRank)
		l.gains = l.gains || e.residents[s.Slot].gains
	}
}

// addRuns lists the span's attention: a single query reads each key once and
// goes to the decode kernel, a run shares its keys in the prefill kernel.
func (l *layout) addRuns(t *rowTables, s *batch.Span) {
	table, keys := int32(len(t.blocks)), s.Position+len(s.Tokens)
	t.blocks = append(t.blocks, s.Blocks...)
	if len(s.Tokens) == 1 {
		t.decode = append(t.decode, int32(l.rows), int32(s.Position), table)
		l.decode.count++
		l.decode.longest = max(l.decode.longest, keys)
		return
	}
	t.prefill = append(t.prefill, int32(l.rows), int32(len(s.Tokens)), int32(s.Position), table)
	l.prefill.count++
	l.prefill.longest = max(l.prefill.longest, len(s.Tokens))
	l.prefill.span = max(l.prefill.span, keys)
}

// alignedRun is the largest power of two, at most 256, such that rows in
// groups of that many all have one slot; the last group may be short.
func alignedRun(slots []int32) int {
	run := 256
	for i := 1; i < len(slots); i++ {
		for slots[i] != slots[i-1] && i%run != 0 {
			run /= 2
		}
	}
	return run
}

// tileRows is the height of tiles that wastes least: the smallest power of two
// that holds the longest run of an adapter, at most the tuning's.
func tileRows(slots []int32, most int) int {
	rows, run := 1, 0
	for i, slot := range slots {
		if i > 0 && slot != slots[i-1] {
			run = 0
		}
		if run++; slot != batch.Base && run > rows && rows < most {
			rows *= 2
		}
	}
	return rows
}

// cutTiles lists (first row, rows, slot) of the runs of one adapter, cut to
// at most size rows. Rows of the base are in none.
func cutTiles(slots []int32, size, border int) []int32 {
	var tiles []int32
	for from := 0; from < len(slots); {
		to := from + 1
		for to < len(slots) && to-from < size && to != border && slots[to] == slots[from] {
			to++
		}
		if slots[from] != batch.Base {
			tiles = append(tiles, int32(from), int32(to-from), slots[from])
		}
		from = to
	}
	return tiles
}

func (e *Engine) arrangeWants(l *layout) {
	var rows []int32
	var params []SampleRow
	var edits []SampleEdit
	for i, w := range l.wants {
		rows = append(rows, int32(w.row))
		params = append(params, sampleRow(w.Want, i%logitRows, len(edits)))
		if w.Target < 0 {
			edits = append(edits, sampleEdits(w.Sampling.Edits)...)
		}
		l.stride = max(l.stride, 1+w.TopN)
		if w.Logits {
			l.keeps++
		}
	}
	l.lists, l.params, l.edits = add(&e.tables, rows), add(&e.tables, params), add(&e.tables, edits)
}

func sampleRow(w *batch.Want, logitsRow, editsAt int) SampleRow {
	s := w.Sampling
	r := SampleRow{TopN: uint32(w.TopN), Target: w.Target, LogitsRow: uint32(logitsRow)}
	if w.Target >= 0 {
		return r
	}
	r.Temperature, r.TopK, r.TopP, r.MinP = s.Temperature, uint32(s.TopK), s.TopP, s.MinP
	r.Repetition, r.Presence, r.Frequency = s.Repetition, s.Presence, s.Frequency
	r.SeedLow, r.SeedHigh, r.Step = uint32(s.Seed), uint32(s.Seed>>32), s.Step
	r.EditsAt, r.Edits = uint32(editsAt), uint32(len(s.Edits))
	return r
}

func sampleEdits(edits []batch.Edit) []SampleEdit {
	out := make([]SampleEdit, len(edits))
	for i, e := range edits {
		seen := uint32(e.Count)
		if e.InPrompt {
			seen |= seenInPrompt
		}
		out[i] = SampleEdit{Token: uint32(e.Token), Seen: seen, Bias: e.Bias}
	}
	return out
}
