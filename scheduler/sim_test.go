package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"loquetier/engine/batch"
)

const (
	vocab    = 97
	damaged  = 3                // a slot whose adapter sometimes computes no number
	stepTime = time.Millisecond // how long a step takes, mostly by synctest's clock
)

// mix stirs a value into a hash.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9E3779B97F4A7C15
	return h ^ h>>29
}

// answer is the simulated model: a pick that depends on the slot, on all tokens
// of the history and on all that a want asks.
func answer(slot int, history []int32, w batch.Want) batch.Pick {
	h := mix(1, uint64(slot))
	for _, token := range history {
		h = mix(h, uint64(token))
	}
	if slot == damaged && h%16 == 0 {
		return batch.Pick{Token: -1}
	}
	pick := batch.Pick{Token: w.Target}
	if w.Target < 0 {
		pick.Token = int32(draw(h, w.Sampling) % vocab)
	}
	pick.LogProb = -float32(mix(h, uint64(pick.Token)) % 1000)
	if slot == damaged && h%16 == 1 {
		pick.LogProb = float32(math.NaN())
	}
	for i := range w.TopN {
		pick.Top = append(pick.Top, batch.TokenLogProb{Token: int32(mix(h, uint64(i)) % vocab)})
	}
	return pick
}

// draw hashes what sampling depends on, whatever the order of its edits and
// however many of them change nothing.
func draw(h uint64, s batch.Sampling) uint64 {
	h = mix(mix(mix(h, s.Seed), uint64(s.Step)), uint64(math.Float32bits(s.Temperature)))
	edits := slices.SortedFunc(slices.Values(s.Edits), func(a, b batch.Edit) int { return cmp.Compare(a.Token, b.Token) })
	for _, e := range edits {
		inPrompt := e.InPrompt && s.Repetition != 1
		if s.Repetition == 1 && s.Presence == 0 && s.Frequency == 0 {
			e.Count = 0
		}
		if inPrompt || e.Count > 0 || e.Bias != 0 {
			h = mix(mix(mix(h, uint64(e.Token)), uint64(e.Count)), uint64(math.Float32bits(e.Bias)))
		}
		if inPrompt {
			h = mix(h, 1)
		}
	}
	return h
}

// outcome is all that a stream tells.
type outcome struct {
	Prompt []batch.Pick
	Tokens []batch.Pick
	Finish Finish
	Err    error
}

// isolated is the outcome of a request that runs alone, in one piece.
func isolated(r Request, context int) outcome {
	var out outcome
	for i := 1; i < len(r.Prompt) && r.PromptLogProbs >= 0; i++ {
		pick := answer(r.Slot, r.Prompt[:i], batch.Want{Target: r.Prompt[i], TopN: r.PromptLogProbs})
		if pick.Token < 0 || pick.LogProb != pick.LogProb {
			return outcome{Finish: Failed, Err: ErrNotFinite}
		}
		out.Prompt = append(out.Prompt, pick)
	}
	history := slices.Clone(r.Prompt)
	for len(out.Tokens) < r.MaxTokens && len(history) <= context {
		pick := answer(r.Slot, history, batch.Want{Target: -1, TopN: max(0, r.LogProbs), Sampling: expectedSampling(r, history[len(r.Prompt):])})
		if pick.Token < 0 || pick.LogProb != pick.LogProb {
			out.Finish, out.Err = Failed, ErrNotFinite
			if len(out.Tokens) == 0 {
				out.Prompt = nil // the scores come with the first token
			}
			return out
		}
		if slices.Contains(r.Stop, pick.Token) {
			out.Finish = Stop
			return out
		}
		out.Tokens = append(out.Tokens, pick)
		history = append(history, pick.Token)
	}
	out.Finish = Length
	return out
}

// expectedSampling tells everything of every token; draw knows what matters.
func expectedSampling(r Request, output []int32) batch.Sampling {
	sampling := r.Sampling
	sampling.Step = uint32(len(output))
	for token := range int32(vocab) {
		e := batch.Edit{Token: token, InPrompt: slices.Contains(r.Prompt, token), Bias: r.Bias[token]}
		for _, t := range output {
			if t == token {
				e.Count++
			}
		}
		sampling.Edits = append(sampling.Edits, e)
	}
	return sampling
}

// sim is a Runner over the simulated model. Its cache remembers who wrote each
// cell, and every step is checked before it runs.
type sim struct {
	context, maxRows, cacheBlocks int
	trainRows                     int

	before func(step int) error // runs at the start of each step, where set
	busy   bool                 // a step is running
	steps  []batch.Step         // all that ran
	broken error                // the first step that breaks the rules
	owners map[int32]*tenant    // by block
	cells  map[int32]cell       // by block * BlockSize + offset
}

// tenant is a sequence as the runner sees it.
type tenant struct {
	slot, computed int
	blocks         []int32
	ran            int // the step that it was last in
}

type cell struct {
	owner    *tenant
	position int
	token    int32
}

func newSim(context, maxRows, cacheBlocks int) *sim {
	return &sim{
		context: context, maxRows: maxRows, cacheBlocks: cacheBlocks, trainRows: maxRows,
		owners: map[int32]*tenant{}, cells: map[int32]cell{},
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
func (m *sim) CacheBlocks() int { return m.cacheBlocks }

func (m *sim) Run(step *batch.Step) (*batch.Result, error) {
	m.busy = true
	defer func() { m.busy = false }()
	time.Sleep(stepTime)
	if m.before != nil {
		if err := m.before(len(m.steps)); err != nil {
			return nil, err
		}
	}
	m.steps = append(m.steps, *step)
	result := &batch.Result{}
	err := m.checkStep(step)
	for i := 0; i < len(step.Spans) && err == nil; i++ {
		var picks []batch.Pick
		picks, err = m.runSpan(&step.Spans[i])
		result.Picks = append(result.Picks, picks)
	}
	for _, u := range step.Updates {
		result.Norms = append(result.Norms, normOf(u))
	}
	m.broken = err
	return result, err
}

// normOf is the simulated gradient's: no two updates have the same.
func normOf(u batch.Update) float64 { return float64(u.Slot*1000 + u.Step) }

// checkStep checks what concerns more than one span.
func (m *sim) checkStep(step *batch.Step) error {
	if rows := step.Rows(); rows == 0 && len(step.Updates) == 0 || rows > m.maxRows {
		return fmt.Errorf("step of %d rows of %d", rows, m.maxRows)
	}
	if err := m.checkTraining(step); err != nil {
		return err
	}
	if !slices.IsSortedFunc(step.Spans, func(a, b batch.Span) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Slot, b.Slot))
	}) {
		return errors.New("spans are not sorted by kind and slot")
	}
	used := map[int32]bool{}
	for _, span := range step.Spans {
		for _, b := range span.Blocks {
			if used[b] || b < 0 || int(b) >= m.cacheBlocks {
				return fmt.Errorf("block %d is shared or outside the cache", b)
			}
			used[b] = true
		}
	}
	return nil
}

// checkTraining checks the rows that train and what they are trained by.
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
	for _, u := range step.Updates {
		if updated[u.Slot] {
			return fmt.Errorf("slot %d is updated twice", u.Slot)
		}
		updated[u.Slot] = true
	}
	return nil
}

// runSpan writes the span's tokens to the cache and answers its wants from
// what the cache then holds.
func (m *sim) runSpan(span *batch.Span) ([]batch.Pick, error) {
	who, err := m.tenantOf(span)
	if err != nil {
		return nil, err
	}
	for i, token := range span.Tokens {
		at := span.Position + i
		m.cells[who.cell(at)] = cell{who, at, token}
	}
	if span.Kind == batch.Decode && who.ran != len(m.steps)-1 {
		return nil, fmt.Errorf("step %d decodes what step %d left waiting", len(m.steps), who.ran)
	}
	who.computed, who.ran = who.computed+len(span.Tokens), len(m.steps)
	var picks []batch.Pick
	for i, w := range span.Wants {
		if err := checkWant(span, i); err != nil {
			return nil, err
		}
		history, err := m.history(who, span.Position+w.Row)
		if err != nil {
			return nil, err
		}
		picks = append(picks, answer(span.Slot, history, w))
	}
	return picks, nil
}

// tenantOf finds the span's sequence by its blocks, or lets a new one in.
func (m *sim) tenantOf(span *batch.Span) (*tenant, error) {
	n, end := len(span.Tokens), span.Position+len(span.Tokens)
	if n == 0 || end > m.context || len(span.Blocks)*batch.BlockSize < end || (span.Kind == batch.Decode && n != 1) || (span.Kind == batch.Train && span.Position != 0) {
		return nil, fmt.Errorf("%s span of %d tokens at %d with %d blocks", span.Kind, n, span.Position, len(span.Blocks))
	}
	if span.Position == 0 {
		who := &tenant{slot: span.Slot, blocks: slices.Clone(span.Blocks)}
		for _, b := range span.Blocks {
			m.owners[b] = who
		}
		return who, nil
	}
	who := m.owners[span.Blocks[0]]
	if who == nil || who.computed != span.Position || who.slot != span.Slot || !slices.Equal(who.blocks, span.Blocks) {
		return nil, fmt.Errorf("slot %d, position %d, blocks %v continue nothing: %+v", span.Slot, span.Position, span.Blocks, who)
	}
	for _, b := range span.Blocks {
		if m.owners[b] != who {
			return nil, fmt.Errorf("block %d was given away while in use", b)
		}
	}
	return who, nil
}

func (t *tenant) cell(position int) int32 {
	return t.blocks[position/batch.BlockSize]*batch.BlockSize + int32(position%batch.BlockSize)
}

// history reads a sequence's tokens back, up to and with a position.
func (m *sim) history(who *tenant, last int) ([]int32, error) {
	var tokens []int32
	for i := range last + 1 {
		c := m.cells[who.cell(i)]
		if c.owner != who || c.position != i {
			return nil, fmt.Errorf("position %d is read before it is written", i)
		}
		tokens = append(tokens, c.token)
	}
	return tokens, nil
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
