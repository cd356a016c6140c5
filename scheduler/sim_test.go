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

// answer is the simulated model: a pick that depends on the version of the
// adapter in the slot, on all tokens of the history and on all that a want asks.
func answer(slot int, version uint64, history []int32, w batch.Want) batch.Pick {
	h := begun(slot, version)
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

// begun is the hash of no tokens.
func begun(slot int, version uint64) uint64 { return mix(mix(1, uint64(slot)), version) }

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
		pick := answer(r.Slot, r.Version, r.Prompt[:i], batch.Want{Target: r.Prompt[i], TopN: r.PromptLogProbs})
		if pick.Token < 0 || pick.LogProb != pick.LogProb {
			return outcome{Finish: Failed, Err: ErrNotFinite}
		}
		out.Prompt = append(out.Prompt, pick)
	}
	history := slices.Clone(r.Prompt)
	for len(out.Tokens) < r.MaxTokens && len(history) <= context {
		pick := answer(r.Slot, r.Version, history, batch.Want{Target: -1, TopN: max(0, r.LogProbs), Sampling: expectedSampling(r, history[len(r.Prompt):])})
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

// sim is a Runner over the simulated model. Each cell of its cache remembers
// the adapter's version and all tokens that its content depends on, and every step
// is checked before it runs: what is read must be what the span's sequence would
// have written, whoever wrote it.
type sim struct {
	context, maxRows, cacheBlocks int
	trainRows                     int

	before func(step int) error // runs at the start of each step, where set
	busy   bool                 // a step is running
	steps  []batch.Step         // all that ran
	broken error                // the first step that breaks the rules
	cells  map[int32]cell       // by block * BlockSize + offset

	versions map[int]uint64 // by slot: of the adapter that is in it
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
		cells: map[int32]cell{}, versions: map[int]uint64{},
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
		past = mix(past, uint64(token))
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
// decode follows the step before.
func (m *sim) history(span *batch.Span) ([]int32, error) {
	var tokens []int32
	past := begun(span.Slot, m.versions[span.Slot])
	for i := range span.Position {
		c, ok := m.cells[place(span, i)]
		past = mix(past, uint64(c.token))
		if !ok || c.position != i || c.past != past {
			return nil, fmt.Errorf("position %d of slot %d, blocks %v, holds what was written for something else", i, span.Slot, span.Blocks)
		}
		if last := i == span.Position-1; last && span.Kind == batch.Decode && span.Position%batch.BlockSize > 0 && c.step != len(m.steps)-1 {
			return nil, fmt.Errorf("step %d decodes what step %d left waiting", len(m.steps), c.step)
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
