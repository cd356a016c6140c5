package engine

import (
	"errors"
	"fmt"
	"math"

	"loquetier/engine/batch"
)

// checkTrainingSpan validates what only a training span must keep to: every
// want scores a target, and they are in the order of their rows, each at most once.
func (e *Engine) checkTrainingSpan(s *batch.Span) error {
	for i, w := range s.Wants {
		switch {
		case w.Target < 0 || w.TopN > 0 || w.Logits:
			return errors.New("a training row only scores a target")
		case i > 0 && w.Row <= s.Wants[i-1].Row:
			return errors.New("training rows with a target are not in order")
		}
	}
	return nil
}

// checkTraining validates the training spans together: they come first, those
// of a slot are neighbours, and there is room for their rows.
func (e *Engine) checkTraining(spans []batch.Span) error {
	rows, done := 0, map[int]bool{}
	for i := range spans {
		s := &spans[i]
		if s.Kind != batch.Train {
			continue
		}
		if i > 0 && spans[i-1].Kind != batch.Train {
			return fmt.Errorf("span %d: training spans come first", i)
		}
		if fresh := i == 0 || spans[i-1].Slot != s.Slot; fresh && done[s.Slot] {
			return fmt.Errorf("span %d: training spans of slot %d are not neighbours", i, s.Slot)
		}
		done[s.Slot] = true
		rows += len(s.Tokens)
	}
	if rows > e.config.TrainRows {
		return fmt.Errorf("%d training rows, but a step takes %d", rows, e.config.TrainRows)
	}
	return nil
}

func (e *Engine) checkUpdates(updates []batch.Update) error {
	seen := map[int]bool{}
	for _, u := range updates {
		if seen[u.Slot] {
			return fmt.Errorf("two updates of slot %d", u.Slot)
		}
		seen[u.Slot] = true
		if err := e.CheckUpdate(u); err != nil {
			return fmt.Errorf("update of slot %d: %w", u.Slot, err)
		}
	}
	return nil
}

// CheckUpdate refuses an update that Run would refuse, whatever the rest of its
// step is.
func (e *Engine) CheckUpdate(u batch.Update) error {
	switch {
	case !e.trains(u.Slot):
		return errors.New("nothing is trained there")
	case u.Optimizer > batch.SGD:
		return fmt.Errorf("optimizer %d is unknown", u.Optimizer)
	case u.Targets < 1:
		return fmt.Errorf("%d targets: it takes at least 1", u.Targets)
	case !(u.Eps >= 0x1p-126 && u.Eps < math.MaxFloat32): // numbers without a gradient are divided by it
		return fmt.Errorf("eps %v: it takes a number of 1.2e-38 or more", u.Eps)
	case u.Step < 1:
		return fmt.Errorf("step %d: they count from 1", u.Step)
	}
	for _, v := range []struct {
		name  string
		value float64
		below float64
	}{
		{"learning rate", u.LR, math.MaxFloat32}, {"beta1", u.Beta1, 1}, {"beta2", u.Beta2, 1},
		{"weight decay", u.WeightDecay, math.MaxFloat32}, {"clip", u.Clip, math.MaxFloat32},
	} {
		if !(v.value >= 0 && v.value < v.below) { // a NaN fails every comparison
			return fmt.Errorf("%s %v: it takes 0 or more, below %v", v.name, v.value, v.below)
		}
	}
	return nil
}
