package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"loquetier/engine/batch"
)

const (
	vocab    = 97
	damaged  = 3                // a slot whose adapter sometimes computes no number
	stepTime = time.Millisecond // how long a step takes, mostly by synctest's clock
)

// sim is a Runner over the simulated model. Each cell of its cache remembers
// the adapter's version and all tokens that its content depends on, and every step
// is checked before it runs: what is read must be what the span's sequence would
// have written, whoever wrote it.
type sim struct {
	context, maxRows, cacheBlocks int
	trainRows                     int

	before func(step int) error // runs when a step is started, where set
	flying []*running           // steps that have not been waited for
	begun  int                  // steps that were started
	picks  []batch.Pick         // of the last step that ran
	steps  []batch.Step         // all that ran
	broken error                // the first step that breaks the rules
	cells  map[int32]cell       // by block * BlockSize + offset

	versions map[int]uint64 // by slot: of the adapter that is in it

	slices  int        // of a backward pass
	left    int        // of the pending one
	tape    tape       // what the pending one needs
	law     law        // how long a step takes; nil: stepTime
	random  *rand.Rand // scatters it by a share, where set
	scatter float64
	drift   *drift     // its speed; nil: constant
	nominal float64    // s that its steps take by the law
	started [2]float64 // rows and pairs of the pass that was started last
	parts   []float64  // by step: the part of its time that training took
}

// tape is what a backward pass reads until its last slice has run.
type tape struct {
	rows, pairs float64 // see mix
	slots       map[int]bool
	blocks      map[int32]bool
}

// cell is the content of one place of the cache.
type cell struct {
	position int
	token    int32
	past     uint64 // hash of the adapter's version and of all tokens up to this
	step     int    // that wrote it
}

func newSim(context, maxRows, cacheBlocks int) *sim {
	return &sim{
		context: context, maxRows: maxRows, cacheBlocks: cacheBlocks, trainRows: maxRows,
		cells: map[int32]cell{}, versions: map[int]uint64{}, slices: 1,
	}
}

func (m *sim) Check(s *batch.Span) error {
	if s.Slot == unusableSlot {
		return errUnusable
	}
	if end := s.Position + len(s.Tokens); end > m.context {
		return fmt.Errorf("%d positions, but the context is %d", end, m.context)
	}
	return nil
}

func (m *sim) CheckUpdate(u batch.Update) error {
	if u.Slot == unusableSlot {
		return errUnusable
	}
	return nil
}

func (m *sim) Context() int     { return m.context }
func (m *sim) MaxRows() int     { return m.maxRows }
func (m *sim) TrainRows() int   { return m.trainRows }
func (m *sim) Slices() int      { return m.slices }
func (m *sim) CacheBlocks() int { return m.cacheBlocks }

// running is a step that takes its time beside the caller.
type running struct {
	step *batch.Step
	ends time.Time
	err  error
}

// Start begins a step. Of the errors of before, those of even steps are told at
// once, the others when the step is waited for.
func (m *sim) Start(step *batch.Step) error {
	n := m.begun
	m.begun++
	f := &running{step: step, ends: time.Now()}
	if m.before != nil {
		f.err = m.before(n)
	}
	if len(m.flying) == depth {
		f.err = errors.New("too many steps are in flight")
	}
	if f.err != nil && n%2 == 0 {
		return f.err
	}
	if len(m.flying) > 0 {
		last := m.flying[len(m.flying)-1]
		f.ends, f.err = last.ends, cmp.Or(f.err, last.err)
	}
	f.ends = f.ends.Add(m.takes(step))
	m.flying = append(m.flying, f)
	return nil
}

// takes is how long a step runs.
func (m *sim) takes(step *batch.Step) time.Duration {
	if m.law == nil {
		return stepTime
	}
	var x, serving mix
	for i := range step.Spans {
		x.span(&step.Spans[i])
		if step.Spans[i].Kind > batch.Eval {
			serving.span(&step.Spans[i])
		}
	}
	if x[mixTrainRows] > 0 {
		t := newTape(step)
		m.started = [2]float64{t.rows, t.pairs}
	}
	x.backward(step.Backward, m.started[0], m.started[1])
	x[mixUpdates] = float64(len(step.Updates))
	seconds := m.law(&x)
	m.parts = append(m.parts, 1-m.law(&serving)/seconds)
	m.nominal += seconds
	if m.drift != nil {
		seconds = m.drift.takes(seconds)
	}
	if m.random != nil {
		seconds *= 1 + m.scatter*max(-2, min(2, m.random.NormFloat64()))
	}
	return after(seconds)
}

// Wait runs the oldest step only now: what it was started with must not have
// changed meanwhile.
func (m *sim) Wait() (*batch.Result, error) {
	f := m.flying[0]
	time.Sleep(time.Until(f.ends))
	m.flying = m.flying[1:]
	if f.err != nil {
		return nil, f.err
	}
	step := m.picked(f.step)
	m.steps = append(m.steps, *step)
	result := &batch.Result{}
	err := m.checkStep(step)
	m.picks = nil
	for i := 0; i < len(step.Spans) && err == nil; i++ {
		var picks []batch.Pick
		picks, err = m.runSpan(&step.Spans[i])
		result.Picks, m.picks = append(result.Picks, picks), append(m.picks, picks...)
	}
	for _, u := range step.Updates {
		result.Norms = append(result.Norms, normOf(u))
	}
	if m.broken == nil {
		m.broken = err
	}
	return result, err
}

// picked is a step with the tokens that the step before has chosen in their places.
func (m *sim) picked(step *batch.Step) *batch.Step {
	out := &batch.Step{Spans: slices.Clone(step.Spans), Backward: step.Backward, Updates: step.Updates}
	for i := range out.Spans {
		span := &out.Spans[i]
		span.Tokens = slices.Clone(span.Tokens)
		for j, token := range span.Tokens {
			if n, ok := batch.PickOf(token); ok {
				span.Tokens[j] = max(0, m.picks[n].Token) // any where there is none
			}
		}
	}
	return out
}

// normOf is the simulated gradient's: no two updates have the same.
func normOf(u batch.Update) float64 { return float64(u.Slot*1000 + u.Step) }

// checkStep checks what concerns more than one span.
func (m *sim) checkStep(step *batch.Step) error {
	if rows := step.Rows(); rows+step.Backward+len(step.Updates) == 0 || rows > m.maxRows {
		return fmt.Errorf("step of %d rows of %d", rows, m.maxRows)
	}
	if err := m.checkTape(step); err != nil {
		return err
	}
	if err := m.checkTraining(step); err != nil {
		return err
	}
	if !slices.IsSortedFunc(step.Spans, func(a, b batch.Span) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Slot, b.Slot))
	}) {
		return errors.New("spans are not sorted by kind and slot")
	}
	return m.checkBlocks(step.Spans)
}

// checkBlocks checks that several spans share only blocks to which none of
// them writes.
func (m *sim) checkBlocks(spans []batch.Span) error {
	users, written := map[int32]int{}, map[int32]bool{}
	for _, span := range spans {
		first, end := span.Position/batch.BlockSize, blocksFor(span.Position+len(span.Tokens))
		for i, b := range span.Blocks {
			if b < 0 || int(b) >= m.cacheBlocks {
				return fmt.Errorf("block %d is outside the cache", b)
			}
			users[b]++
			written[b] = written[b] || i >= first && i < end
		}
	}
	for b, n := range users {
		if n > 1 && written[b] {
			return fmt.Errorf("block %d has %d users and is written to", b, n)
		}
	}
	return nil
}

// checkTape checks that nobody touches what the pending backward pass needs.
func (m *sim) checkTape(step *batch.Step) error {
	if m.left == 0 {
		return nil
	}
	for _, span := range step.Spans {
		if span.Kind == batch.Train {
			return fmt.Errorf("training rows with %d slices left of the pass before", m.left)
		}
		for _, b := range span.Blocks {
			if m.tape.blocks[b] {
				return fmt.Errorf("block %d belongs to a pass with %d slices left", b, m.left)
			}
		}
	}
	return nil
}

// checkTraining checks the rows that train and what they are trained by, and
// runs slices of the backward pass.
func (m *sim) checkTraining(step *batch.Step) error {
	rows, updated := 0, map[int]bool{}
	for _, span := range step.Spans {
		if span.Kind == batch.Train {
			rows += len(span.Tokens)
		}
	}
	if rows > m.trainRows {
		return fmt.Errorf("step of %d training rows of %d", rows, m.trainRows)
	}
	if rows > 0 {
		m.left, m.tape = m.slices, newTape(step)
	}
	if m.left -= step.Backward; m.left < 0 {
		return fmt.Errorf("%d slices beyond the last", -m.left)
	}
	for _, u := range step.Updates {
		if updated[u.Slot] {
			return fmt.Errorf("slot %d is updated twice", u.Slot)
		}
		if m.left > 0 && m.tape.slots[u.Slot] {
			return fmt.Errorf("slot %d is updated with %d slices left", u.Slot, m.left)
		}
		updated[u.Slot] = true
	}
	return nil
}

// newTape is what the backward pass of a step needs.
func newTape(step *batch.Step) tape {
	t := tape{slots: map[int]bool{}, blocks: map[int32]bool{}}
	var x mix
	for i := range step.Spans {
		span := &step.Spans[i]
		if span.Kind != batch.Train {
			continue
		}
		x.span(span)
		t.slots[span.Slot] = true
		for _, b := range span.Blocks {
			t.blocks[b] = true
		}
	}
	t.rows, t.pairs = x[mixRows], x[mixPairs]
	return t
}

// runSpan writes the span's tokens to the cache and answers its wants from
// what the cache then holds.
func (m *sim) runSpan(span *batch.Span) ([]batch.Pick, error) {
	n, end := len(span.Tokens), span.Position+len(span.Tokens)
	if n == 0 || end > m.context || len(span.Blocks)*batch.BlockSize < end || (span.Kind == batch.Decode && n != 1) || (span.Kind == batch.Train && span.Position != 0) {
		return nil, fmt.Errorf("%s span of %d tokens at %d with %d blocks", span.Kind, n, span.Position, len(span.Blocks))
	}
	history, err := m.history(span)
	if err != nil {
		return nil, err
	}
	past := m.pastOf(span, span.Position)
	for i, token := range span.Tokens {
		past = stir(past, uint64(token))
		m.cells[place(span, span.Position+i)] = cell{span.Position + i, token, past, len(m.steps)}
	}
	history = append(history, span.Tokens...)
	var picks []batch.Pick
	for i, w := range span.Wants {
		if err := checkWant(span, i); err != nil {
			return nil, err
		}
		picks = append(picks, answer(span.Slot, m.versions[span.Slot], history[:span.Position+w.Row+1], w))
	}
	return picks, nil
}

// place is the cell of a span's position.
func place(span *batch.Span, position int) int32 {
	return span.Blocks[position/batch.BlockSize]*batch.BlockSize + int32(position%batch.BlockSize)
}

// pastOf is the hash of what comes before a position.
func (m *sim) pastOf(span *batch.Span, position int) uint64 {
	if position == 0 {
		return begun(span.Slot, m.versions[span.Slot])
	}
	return m.cells[place(span, position-1)].past
}

// history reads back the tokens before a span. Each must have been written
// after just those before it, on the version that is in the slot. Within a block a
// decode follows the step before, but for one of training's own.
func (m *sim) history(span *batch.Span) ([]int32, error) {
	var tokens []int32
	past := begun(span.Slot, m.versions[span.Slot])
	for i := range span.Position {
		c, ok := m.cells[place(span, i)]
		past = stir(past, uint64(c.token))
		if !ok || c.position != i || c.past != past {
			return nil, fmt.Errorf("position %d of slot %d, blocks %v, holds what was written for something else", i, span.Slot, span.Blocks)
		}
		if last := i == span.Position-1; last && span.Kind == batch.Decode && span.Position%batch.BlockSize > 0 && c.step != m.previous() {
			return nil, fmt.Errorf("step %d decodes what step %d left waiting", len(m.steps), c.step)
		}
		tokens = append(tokens, c.token)
	}
	return tokens, nil
}

// previous is the number of the last step that could have had requests' rows: that
// before the one that runs, or, where it was training's own, the one before that.
func (m *sim) previous() int {
	n := len(m.steps) - 1
	if n == 0 {
		return n
	}
	spans := m.steps[n-1].Spans
	if len(spans) > 0 && !slices.ContainsFunc(spans, func(s batch.Span) bool { return s.Kind > batch.Eval }) {
		n--
	}
	return n
}

func checkWant(span *batch.Span, i int) error {
	w := span.Wants[i]
	if w.Row < 0 || w.Row >= len(span.Tokens) || (i > 0 && w.Row <= span.Wants[i-1].Row) ||
		w.TopN < 0 || w.Target < -1 || (span.Kind <= batch.Eval && w.Target < 0) {
		return fmt.Errorf("%s span of %d rows with the want %+v", span.Kind, len(span.Tokens), w)
	}
	edited := map[int32]bool{}
	for _, e := range w.Sampling.Edits {
		if edited[e.Token] {
			return fmt.Errorf("token %d is edited twice", e.Token)
		}
		edited[e.Token] = true
	}
	return nil
}

// unusableSlot is a slot that the runner refuses.
const unusableSlot = 99

var errUnusable = errors.New("no adapter in slot 99")
