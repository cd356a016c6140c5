package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
)

// Rehearse makes the kernels ready that steps of the usual kinds need: next tokens,
// prompts, both, and training rows where there is room for them, each without adapters and with
// one and several of each of the ranks. They are compiled side by side and kept for the next start
// of a program; without that the first step of each kind waits for the driver's compiler. Nothing
// runs, and no step may be in flight. progress may be nil.
func (e *Engine) Rehearse(ranks []int, progress func(done, total int)) error {
	if e.frames.flying > 0 || e.pending != nil {
		return errors.New("BUG: a rehearsal while a step is in flight or a backward pass pending")
	}
	wanted, err := e.rehearse(ranks)
	if err != nil {
		return fmt.Errorf("rehearse steps: %w", err)
	}
	if len(wanted) == 0 {
		return nil
	}
	e.kernels.compileAll(wanted, time.Time{}, progress)
	_ = e.device.KeepPipelines() // what cannot be kept is compiled again
	return nil
}

// rehearse records the usual steps and returns the pipelines that are missing.
func (e *Engine) rehearse(ranks []int) ([]pipelineKey, error) {
	var wanted []pipelineKey
	residents, limit := e.residents, e.config.Submission
	e.kernels.wanted, e.config.Submission = &wanted, math.Inf(1) // so that nothing is submitted
	defer func() {
		e.kernels.wanted, e.config.Submission, e.residents = nil, limit, residents
		e.recorder.Reset()
	}()
	r := rehearsal{rows: e.config.MaxRows, blocks: make([]int32, min(ceil(e.config.Context, batch.BlockSize), e.config.CacheBlocks))}
	if err := e.practise(r.serving([]int{batch.Base})); err != nil {
		return nil, err
	}
	for _, rank := range ranks {
		rank = padded(rank)
		if err := e.growShrink(rank); err != nil {
			return nil, err
		}
		// Slots that the table does not have, nor needs to, since nothing runs.
		n := len(residents)
		e.residents = append(residents[:n:n], standIn(rank, nil), standIn(rank, nil), standIn(rank, e.everyModule()))
		one, two := []int{n}, []int{n, n + 1}
		steps := slices.Concat(r.serving(one), r.serving(two), r.training(n+2, e.config.TrainRows, []int{batch.Base}, one, two))
		if err := e.practise(steps); err != nil {
			return nil, fmt.Errorf("rank %d: %w", rank, err)
		}
	}
	return unique(wanted), nil
}

// practise records steps.
func (e *Engine) practise(steps []batch.Step) error {
	for i := range steps {
		f := e.frames.next()
		f.begin(&steps[i])
		e.frame = f
		updates, err := e.prepare(f)
		e.recorder.Reset()
		if err == nil {
			err = e.record(e.recorder, f, updates)
		}
		if err != nil {
			return fmt.Errorf("%d spans of %d rows: %w", len(steps[i].Spans), steps[i].Rows(), err)
		}
	}
	return nil
}

// standIn is an adapter of a rank that no memory holds; modules are those that are trained.
func standIn(rank int, modules []AdapterModule) *resident {
	const numbers = 4
	nowhere := vk.Buffer{Address: 1 << 20, Size: 4 * numbers * (masterArray + 1)}
	r := &resident{maxRank: rank, memory: nowhere}
	if modules != nil {
		r.trainee = &trainee{modules: modules, memory: nowhere, count: numbers}
	}
	return r
}

func (e *Engine) everyModule() (all []AdapterModule) {
	for layer := range e.checkpointConfig.Layers {
		for m := range Module(Modules) {
			all = append(all, AdapterModule{Layer: layer, Module: m})
		}
	}
	return all
}

// rehearsal makes the steps that are usual: of every power of two rows, by which
// kernels are chosen.
type rehearsal struct {
	rows   int     // of a step at most
	blocks []int32 // of every sequence
}

const (
	mostDecodes = 512 // rows of next tokens that are usual
	fewDecodes  = 8   // beside other rows
	leastRows   = 16  // of a prompt or of a sequence in training
)

// serving are steps of next tokens whose sequences are on the slots in turn, and of a
// prompt, by itself and beside next tokens.
func (r *rehearsal) serving(slots []int) (steps []batch.Step) {
	for n := 1; n <= min(mostDecodes, r.rows); n *= 2 {
		steps = append(steps, batch.Step{Spans: r.decodes(n, slots)})
	}
	for n := leastRows; n <= min(r.rows, r.tokens()); n *= 2 {
		prompt := r.span(batch.Prefill, slots[0], n)
		steps = append(steps, batch.Step{Spans: []batch.Span{prompt}})
		if n+fewDecodes <= r.rows {
			steps = append(steps, batch.Step{Spans: append([]batch.Span{prompt}, r.decodes(fewDecodes, slots)...)})
		}
	}
	return steps
}

// training are steps of a sequence of up to so many rows that is trained in a slot, by
// itself and beside next tokens of sequences on others.
func (r *rehearsal) training(slot, rows int, others ...[]int) (steps []batch.Step) {
	for n := leastRows; n <= min(rows, r.tokens()); n *= 2 {
		sequence := r.span(batch.Train, slot, n)
		step := batch.Step{Backward: batch.All, Spans: []batch.Span{sequence}, Updates: []batch.Update{{Slot: slot, Step: 1}}}
		steps = append(steps, step)
		for _, slots := range others {
			if n+fewDecodes <= r.rows {
				step.Spans = append([]batch.Span{sequence}, r.decodes(fewDecodes, slots)...)
				steps = append(steps, step)
			}
		}
	}
	return steps
}

// tokens is the longest sequence.
func (r *rehearsal) tokens() int { return len(r.blocks) * batch.BlockSize }

// decodes are next tokens of sequences, the first one as long as can be, on slots in turn.
func (r *rehearsal) decodes(n int, slots []int) (spans []batch.Span) {
	for i := range n {
		s := r.span(batch.Decode, slots[i*len(slots)/n], 1)
		if i == 0 {
			s.Position = r.tokens() - 1
		}
		spans = append(spans, s)
	}
	return spans
}

// span is one of n tokens whose last one's logits are wanted, or all of them as targets.
func (r *rehearsal) span(kind batch.Kind, slot, n int) batch.Span {
	s := batch.Span{Kind: kind, Slot: slot, Tokens: make([]int32, n), Blocks: r.blocks}
	if kind != batch.Train {
		s.Wants = []batch.Want{{Row: n - 1, Target: -1, Sampling: batch.Greedy()}}
		return s
	}
	for row := range n {
		s.Wants = append(s.Wants, batch.Want{Row: row})
	}
	return s
}
