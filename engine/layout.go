package engine

import (
	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// layout is a step as the kernels see it: rows in the order of the spans, and
// lists of what to do with them.
type layout struct {
	shape
	input   vk.Buffer // the tables, as the kernels read them
	longest int       // keys of the longest decode run; for the profile
	wants   []want
	wanted  *layout   // of the rows whose logits are wanted; nil: the last layer is computed for all rows
	keeps   int       // wants that ask for their logits
	train   *training // nil without training rows
}

// shape is what the commands of a step depend on that neither trains nor keeps
// logits: steps of equal shapes differ only in what is in their tables. Tables that
// grow from token to token are padded, so that a shape lasts.
type shape struct {
	rows     int
	adapters bool // some row has one
	maxRank  int  // largest padded rank among the step's adapters
	gains    bool // some of them have DoRA gains
	run      int  // rows in aligned runs of one slot: a power of two

	besideRun int   // the same of the rows beside training rows alone
	beside    entry // slots of these

	tokens, positions, cells, slots entry
	tiles                           entry // shrink
	tileCount, tileRows             int
	tall                            bool // they are those of the shrinks of many rows
	blockTables                     entry
	prefill, decode                 runs
	splits                          int   // workgroups for each decode run's keys
	lists, params, edits            entry // of the wants
	gathered                        entry // with wanted: the rows that they are
	stride                          int   // of the wants' results
}

// runs are the queries of one attention kernel.
type runs struct {
	list    entry
	count   int
	longest int // queries of a prefill run
	span    int // keys of a prefill run's last query
}

// want is a row whose logits are wanted: where its answer belongs.
type want struct {
	span, index, row int
	*batch.Want
}

// rowTables gathers the tables by row while walking the spans, and those of the
// wants. Its storage is used again.
type rowTables struct {
	tokens, positions, cells, slots, blocks []int32
	prefill, decode                         []int32
	lists                                   []int32
	params                                  []SampleRow
	edits                                   []SampleEdit
}

func (t *rowTables) reset() {
	*t = rowTables{
		tokens: t.tokens[:0], positions: t.positions[:0], cells: t.cells[:0], slots: t.slots[:0], blocks: t.blocks[:0],
		prefill: t.prefill[:0], decode: t.decode[:0], lists: t.lists[:0], params: t.params[:0], edits: t.edits[:0],
	}
}

// arrange fills the input tables of a frame's step.
func (e *Engine) arrange(f *frame) {
	f.layout = layout{wants: f.layout.wants[:0]}
	f.tables.reset()
	e.gathered.reset()
	l, t, to := &f.layout, &e.gathered, &f.tables
	for i := range f.step.Spans {
		s := &f.step.Spans[i]
		l.addRuns(t, s)
		e.addRows(l, t, s)
		l.addWants(i, s)
		if s.Kind == batch.Train {
			l.addSequence(s)
		}
		l.rows += len(s.Tokens)
	}
	l.tokens, l.positions, l.cells = add(to, t.tokens), add(to, t.positions), add(to, t.cells)
	l.blockTables, l.prefill.list, l.decode.list = addPadded(to, t.blocks), add(to, t.prefill), add(to, t.decode)
	if l.decode.count > 0 {
		l.splits = e.kernels.DecodeSplits(l.decode.count, e.checkpointConfig.KVHeads, l.longest)
	}
	if l.adapters {
		e.arrangeSlots(l, t.slots, l.trainRows())
	}
	e.arrangeWants(l)
	e.arrangeWanted(l, t.slots)
	e.arrangeTraining(l, t.slots)
}

// arrangeSlots adds the tables of the rows' adapters; no tile reaches over the border.
func (e *Engine) arrangeSlots(l *layout, slots []int32, border int) {
	to := &e.frame.tables
	l.slots, l.run = add(to, slots), alignedRun(slots)
	if border > 0 {
		l.beside, l.besideRun = add(to, slots[border:]), alignedRun(slots[border:])
	}
	l.tileRows, l.tall = e.tileRows(slots)
	tiles := cutTiles(slots, l.tileRows, border)
	l.tiles, l.tileCount = add(to, tiles), len(tiles)/3
}

// shapes are what the step's commands depend on: its shape, and that of the wanted rows alone.
func (l *layout) shapes() [2]shape {
	if l.wanted == nil {
		return [2]shape{l.shape}
	}
	return [2]shape{l.shape, l.wanted.shape}
}

// shrinkTiles are the tiles of the rows' adapters.
func (l *layout) shrinkTiles() Tiles {
	return Tiles{List: l.at(l.tiles), Count: l.tileCount, Rows: l.tileRows, Tall: l.tall}
}

// choice is the number among the sampled rows of a step's want number i: the
// targets of training rows, which come first, are not sampled.
func (l *layout) choice(i int) int {
	if l.train == nil {
		return i
	}
	return i - len(l.train.targets)
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
		if pick, ok := batch.PickOf(token); ok {
			before := &e.frames.before(e.frame).layout
			token = ^int32(before.choice(pick) * before.stride)
		}
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
		l.longest = max(l.longest, keys)
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

// tileRows is the height of the step's shrink tiles, and whether they are tall.
func (e *Engine) tileRows(slots []int32) (rows int, tall bool) {
	t := e.kernels.Tuning
	if t.Tall.From > 0 && len(slots) >= t.Tall.From {
		return e.kernels.TallRows(), true
	}
	return tileRows(slots, int(t.ShrinkRows)), false
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
	t, to := &e.gathered, &e.frame.tables
	for i, w := range l.wants {
		t.lists = append(t.lists, int32(w.row))
		t.params = append(t.params, sampleRow(w.Want, i%e.logitRows(), len(t.edits)))
		if w.Target < 0 {
			t.edits = appendEdits(t.edits, w.Sampling.Edits)
		}
		l.stride = max(l.stride, 1+w.TopN)
		if w.Logits {
			l.keeps++
		}
	}
	l.lists, l.params, l.edits = add(to, t.lists), add(to, t.params), addPadded(to, t.edits)
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

func appendEdits(to []SampleEdit, edits []batch.Edit) []SampleEdit {
	for _, e := range edits {
		seen := uint32(e.Count)
		if e.InPrompt {
			seen |= seenInPrompt
		}
		to = append(to, SampleEdit{Token: uint32(e.Token), Seen: seen, Bias: e.Bias})
	}
	return to
}
