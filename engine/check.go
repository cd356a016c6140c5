package engine

import (
	"fmt"

	"loquetier/engine/batch"
)

// check validates a step before anything of it reaches the device, where an
// index out of range is not caught.
func (e *Engine) check(step *batch.Step) error {
	if rows := step.Rows(); rows == 0 && len(step.Updates) == 0 && e.slicesOf(step) == 0 || rows > e.config.MaxRows {
		return fmt.Errorf("step of %d rows, but it takes 1 to %d", rows, e.config.MaxRows)
	}
	for i := range step.Spans {
		if err := e.Check(&step.Spans[i]); err != nil {
			return fmt.Errorf("span %d: %w", i, err)
		}
	}
	return firstError(e.checkTraining(step.Spans), e.checkUpdates(step.Updates), e.checkBackward(step))
}

// Check refuses a span that Run would refuse, whatever the rest of its step is.
func (e *Engine) Check(s *batch.Span) error {
	vocab, end := e.checkpointConfig.VocabSize, s.Position+len(s.Tokens)
	switch {
	case len(s.Tokens) == 0:
		return fmt.Errorf("no tokens")
	case s.Kind == batch.Train && !e.trains(s.Slot):
		return fmt.Errorf("nothing is trained in slot %d", s.Slot)
	case s.Kind == batch.Train && (len(s.Tokens) < 2 || s.Position != 0):
		return fmt.Errorf("training takes whole sequences of at least two tokens, not %d from position %d on", len(s.Tokens), s.Position)
	case s.Position < 0 || end > e.config.Context:
		return fmt.Errorf("positions %d to %d, but the context is %d", s.Position, end-1, e.config.Context)
	case s.Slot != batch.Base && (s.Slot < 0 || s.Slot >= len(e.residents) || e.residents[s.Slot] == nil):
		return fmt.Errorf("no adapter in slot %d", s.Slot)
	case len(s.Blocks)*batch.BlockSize < end:
		return fmt.Errorf("%d cache blocks for %d tokens", len(s.Blocks), end)
	}
	for _, t := range s.Tokens {
		if i, ok := batch.PickOf(t); ok && e.picks(i) {
			continue
		}
		if t < 0 || int(t) >= vocab {
			return fmt.Errorf("token id %d is outside the vocabulary of %d", t, vocab)
		}
	}
	for _, b := range s.Blocks {
		if b < 0 || int(b) >= e.config.CacheBlocks {
			return fmt.Errorf("cache block %d of %d", b, e.config.CacheBlocks)
		}
	}
	for _, w := range s.Wants {
		if err := checkWant(w, len(s.Tokens), vocab); err != nil {
			return err
		}
	}
	if s.Kind == batch.Train {
		return e.checkTrainingSpan(s)
	}
	return nil
}

// picks tells whether the step in flight that the next one follows chooses a
// token for its want number i.
func (e *Engine) picks(i int) bool {
	if e.frames.flying == 0 {
		return false
	}
	l := &e.frames.before(e.frames.next()).layout
	i = l.choice(i)
	return i >= 0 && i < len(l.wants) && l.wants[i].Target < 0
}

func checkWant(w batch.Want, rows, vocab int) error {
	switch {
	case w.Row < 0 || w.Row >= rows:
		return fmt.Errorf("logits of row %d of %d", w.Row, rows)
	case w.Target < -1 || int(w.Target) >= vocab:
		return fmt.Errorf("token id %d is outside the vocabulary of %d", w.Target, vocab)
	case w.TopN < 0 || w.TopN > min(MaxTopN, vocab):
		return fmt.Errorf("%d log-probabilities, but at most %d are told", w.TopN, min(MaxTopN, vocab))
	}
	if w.Target >= 0 {
		return nil
	}
	for _, edit := range w.Sampling.Edits {
		if edit.Token < 0 || int(edit.Token) >= vocab {
			return fmt.Errorf("token id %d is outside the vocabulary of %d", edit.Token, vocab)
		}
	}
	return CheckSampling(w.Sampling)
}

// CheckSampling refuses settings that mean nothing. Errors name the setting,
// its value and what it takes.
func CheckSampling(s batch.Sampling) error {
	for _, v := range []struct {
		name       string
		value      float32
		ok         bool
		acceptable string
	}{
		{"temperature", s.Temperature, s.Temperature >= 0 && s.Temperature <= 100, "0 to 100"},
		{"top_k", float32(s.TopK), s.TopK >= 0, "0 or more"},
		{"top_p", s.TopP, s.TopP > 0 && s.TopP <= 1, "above 0, at most 1"},
		{"min_p", s.MinP, s.MinP >= 0 && s.MinP <= 1, "0 to 1"},
		{"repetition_penalty", s.Repetition, s.Repetition > 0 && s.Repetition <= 100, "above 0, at most 100"},
		{"presence_penalty", s.Presence, s.Presence >= -100 && s.Presence <= 100, "-100 to 100"},
		{"frequency_penalty", s.Frequency, s.Frequency >= -100 && s.Frequency <= 100, "-100 to 100"},
	} {
		if !v.ok { // a NaN fails every comparison
			return fmt.Errorf("%s %v: it takes %s", v.name, v.value, v.acceptable)
		}
	}
	for _, e := range s.Edits {
		if !(e.Bias >= -1000 && e.Bias <= 1000) {
			return fmt.Errorf("logit_bias %v of token %d: it takes -1000 to 1000", e.Bias, e.Token)
		}
	}
	return nil
}
