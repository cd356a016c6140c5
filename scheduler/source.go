package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"loquetier/engine/batch"
)

// A Source gives training work that shares steps with requests. Its methods
// are called from the scheduler's loop, between steps: none is in flight. They may add sources and
// submit requests, Done apart, but not call Do, which waits for them.
type Source interface {
	// Next offers work of at most rows rows and blocks cache blocks (of
	// batch.BlockSize tokens; a span needs ceil(len(Tokens)/BlockSize) of them,
	// which the scheduler fills in). Train spans come first. Nothing: there is no work
	// that fits at present.
	Next(rows, blocks int) (spans []batch.Span, updates []batch.Update)
	// Commit takes the picks of the spans, in their order, and the norms of the
	// updates that the last Next gave.
	Commit(picks [][]batch.Pick, norms []float64)
	// Fail ends the source: its work could not be run.
	Fail(err error)
	// Done tells that there will be no more work.
	Done() bool
}

// work is one source's part of a planned step.
type work struct {
	source  *contender
	spans   []batch.Span
	updates []batch.Update
	picks   [][]batch.Pick
}

// contender is a source that competes with others for rows. Contenders are
// asked in the order of their starts: of what each has got, divided by its weight
// (start-time fair queuing, Goyal, Vin and Cheng 1996). One that has had less to offer
// than it could have got does not save that up.
type contender struct {
	Source
	weight float64
	start  float64 // rows that it has got, divided by its weight
}

// Train adds a source: from the next step on its work fills what requests
// leave of a step.
func (s *Scheduler) Train(source Source) error { return s.TrainWeighted(source, 1) }

// TrainWeighted adds a source that gets weight times as many rows as one of
// weight 1, where both want all they can get. The weight is more than 0.
func (s *Scheduler) TrainWeighted(source Source, weight float64) error {
	if !(weight > 0) || math.IsInf(weight, 0) {
		return fmt.Errorf("weight %v of a training job: it takes a number greater than 0", weight)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.sources = append(s.sources, &contender{source, weight, s.turn})
	s.rouse()
	return nil
}

// dropSources forgets those that are done.
func (s *Scheduler) dropSources() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = slices.DeleteFunc(s.sources, func(c *contender) bool { return c.Done() })
}

// contenders are the sources in the order in which they are asked.
func (s *Scheduler) contenders() []*contender {
	s.mu.Lock()
	defer s.mu.Unlock()
	sorted := slices.Clone(s.sources)
	for _, c := range sorted {
		c.start = max(c.start, s.turn)
	}
	slices.SortStableFunc(sorted, func(a, b *contender) int { return cmp.Compare(a.start, b.start) })
	return sorted
}

// rows is the number of its tokens.
func (w *work) rows() (n int) {
	for i := range w.spans {
		n += len(w.spans[i].Tokens)
	}
	return n
}

// serve notes how much the first to be served has got: whoever is behind it
// wanted no more.
func (s *Scheduler) serve(start float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn = start
}

// offer asks a source for work; nil: it has none that fits, or what it offers
// cannot run and it has failed.
func (s *Scheduler) offer(source *contender, room int, others []*work) *work {
	if source.Done() {
		return nil
	}
	spans, updates := source.Next(room, max(0, s.blocks.room()-2*len(s.running)))
	if len(spans)+len(updates) == 0 {
		return nil
	}
	w := &work{source: source, spans: spans, updates: updates, picks: make([][]batch.Pick, len(spans))}
	if err := firstError(s.checkUpdates(w, others), s.settle(w, room)); err != nil {
		s.blocks.release(w)
		source.Fail(err)
		return nil
	}
	return w
}

// settle gives the spans their cache blocks and checks them before they run
// beside others.
func (s *Scheduler) settle(w *work, room int) error {
	for i := range w.spans {
		w.spans[i].Blocks = nil // only what is taken here is given back
	}
	err := checkOffer(w, room)
	for i := range w.spans {
		if err != nil {
			break
		}
		span := &w.spans[i]
		var ok bool
		if span.Blocks, ok = s.blocks.take(blocksFor(len(span.Tokens))); !ok {
			err = errors.New("BUG: a source offers more than there are cache blocks")
			break
		}
		err = s.runner.Check(span)
	}
	return err
}

// checkUpdates refuses updates that the runner would refuse, and those of a
// slot that another source updates in the same step.
func (s *Scheduler) checkUpdates(w *work, others []*work) error {
	for i, u := range w.updates {
		if err := s.runner.CheckUpdate(u); err != nil {
			return err
		}
		same := func(other batch.Update) bool { return other.Slot == u.Slot }
		taken := slices.ContainsFunc(w.updates[:i], same)
		for _, o := range others {
			taken = taken || slices.ContainsFunc(o.updates, same)
		}
		if taken {
			return fmt.Errorf("BUG: two updates of slot %d in a step", u.Slot)
		}
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkOffer(w *work, room int) error {
	for i := range w.spans {
		if w.spans[i].Kind != batch.Train && w.spans[i].Kind != batch.Eval {
			return fmt.Errorf("BUG: a source offers %s rows", w.spans[i].Kind)
		}
		room -= len(w.spans[i].Tokens)
	}
	if room < 0 {
		return fmt.Errorf("BUG: a source offers %d rows too many", -room)
	}
	return nil
}

// failSource ends a source that had no work for a step that was its own: it
// never will.
func (s *Scheduler) failSource(c *contender) {
	c.Fail(fmt.Errorf("its next sequence does not fit: a step takes %d training rows and the cache has %d blocks of %d tokens",
		s.runner.TrainRows(), s.runner.CacheBlocks(), batch.BlockSize))
}
