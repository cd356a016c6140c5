package scheduler

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"loquetier/engine/batch"
)

// lessonToken is where the tokens of sources begin; those of requests are below.
const lessonToken = 1000

// course is a Source of lessons, to be answered in order. It notes what breaks
// the rules that a scheduler has to keep.
type course struct {
	slot    int
	lessons []lesson
	most    int                                // lessons of one offer
	wait    time.Duration                      // before it is added
	spoil   func([]batch.Span) []batch.Span    // changes what it offers, where set
	pause   func(rows, blocks int) (idle bool) // offers nothing where it says so, where set

	fails func() // is called where it fails, where set

	next    int // the first lesson without an answer
	updated int // updates with an answer
	offered []batch.Span
	updates []batch.Update
	ended   error // what it failed with
	refused error // what Train said
	broken  error // the first rule that was broken
}

// lesson is one sequence.
type lesson struct {
	batch.Span
	update bool // follows it
}

func (c *course) note(format string, args ...any) {
	if c.broken == nil {
		c.broken = fmt.Errorf("source of slot %d: "+format, append([]any{c.slot}, args...)...)
	}
}

func (c *course) Next(rows, blocks int) ([]batch.Span, []batch.Update) {
	switch {
	case rows < 0 || blocks < 0:
		c.note("is offered %d rows and %d blocks", rows, blocks)
	case c.offered != nil:
		c.note("is asked for more before an answer")
	case c.Done():
		c.note("is asked for more after its end")
	}
	if c.pause != nil && c.pause(rows, blocks) {
		return nil, nil
	}
	for i, l := range c.lessons[c.next:] {
		n := len(l.Tokens)
		if i == c.most || n > rows || blocksFor(n) > blocks || i > 0 && l.Kind < c.lessons[c.next+i-1].Kind {
			break
		}
		rows, blocks = rows-n, blocks-blocksFor(n)
		c.offered = append(c.offered, l.Span)
		if l.update {
			c.updates = []batch.Update{{Slot: c.slot, Targets: 1, Step: c.updated + 1}}
			break
		}
	}
	if c.spoil != nil {
		c.offered = c.spoil(c.offered)
	}
	return slices.Clone(c.offered), c.updates
}

func (c *course) Commit(picks [][]batch.Pick, norms []float64) {
	if len(c.offered) == 0 || c.Done() {
		c.note("gets %d answers without having asked", len(picks))
	}
	var want [][]batch.Pick
	for _, span := range c.offered {
		var all []batch.Pick
		for _, w := range span.Wants {
			all = append(all, answer(c.slot, 0, span.Tokens[:w.Row+1], w))
		}
		want = append(want, all)
	}
	if diff := cmp.Diff(want, picks); diff != "" {
		c.note("lessons from %d on have wrong picks (-want +got):\n%s", c.next, diff)
	}
	var wantNorms []float64
	for _, u := range c.updates {
		wantNorms = append(wantNorms, normOf(u))
	}
	if !slices.Equal(norms, wantNorms) {
		c.note("has the norms %v, not %v", norms, wantNorms)
	}
	c.next += len(c.offered)
	c.updated += len(c.updates)
	c.offered, c.updates = nil, nil
}

func (c *course) Fail(err error) {
	if c.Done() {
		c.note("fails after its end: %w", err)
	}
	c.ended, c.offered, c.updates = err, nil, nil
	if c.fails != nil {
		c.fails()
	}
}

func (c *course) Done() bool { return c.ended != nil || c.next == len(c.lessons) }

// drawCourses adds sources. A slot has at most one, as two updates of a slot
// do not go into one step.
func (sc *scenario) drawCourses(rt *rapid.T) {
	sc.trainRows = rapid.IntRange(0, sc.maxRows).Draw(rt, "train rows")
	sc.slices = rapid.IntRange(1, 5).Draw(rt, "slices")
	slots := rapid.Permutation([]int{0, 1, 10, 11}).Draw(rt, "slots of sources")
	for i, slot := range slots[:rapid.IntRange(0, 3).Draw(rt, "sources")] {
		longest := sc.context
		if rapid.IntRange(0, 3).Draw(rt, "all lessons fit") > 0 {
			longest = max(1, min(longest, sc.trainRows, sc.cacheBlocks*batch.BlockSize))
		}
		c := &course{
			slot: slot, most: rapid.IntRange(1, 5).Draw(rt, "lessons of an offer"),
			wait: time.Duration(rapid.IntRange(0, 20_000).Draw(rt, "wait"))*time.Microsecond +
				time.Duration(i+1)*time.Nanosecond, // never when something else happens: the order is certain
		}
		for range rapid.IntRange(1, 12).Draw(rt, "lessons") {
			kind := rapid.SampledFrom([]batch.Kind{batch.Train, batch.Train, batch.Eval}).Draw(rt, "kind")
			length, every := rapid.IntRange(1, longest).Draw(rt, "length"), rapid.IntRange(1, 3).Draw(rt, "every so many rows")
			c.add(kind, length, every, kind == batch.Train && rapid.Bool().Draw(rt, "update"))
		}
		sc.courses = append(sc.courses, c)
	}
}

// add appends a lesson that wants each so-manieth row, with tokens of its own.
func (c *course) add(kind batch.Kind, length, every int, update bool) {
	l := lesson{Span: batch.Span{Kind: kind, Slot: c.slot}, update: update}
	for i := range length {
		l.Tokens = append(l.Tokens, int32(lessonToken+100*len(c.lessons)+i))
		if i%every == 0 {
			l.Wants = append(l.Wants, batch.Want{Row: i, Target: l.Tokens[i] + 1})
		}
	}
	c.lessons = append(c.lessons, l)
}

// addCourses adds the sources, each at its time.
func (sc *scenario) addCourses(s *Scheduler) *sync.WaitGroup {
	var added sync.WaitGroup
	for _, c := range sc.courses {
		added.Go(func() {
			time.Sleep(c.wait)
			c.refused = s.Train(c)
		})
	}
	return &added
}

// grade judges how a source ended.
func (sc *scenario) grade(c *course) error {
	wrong := func(err error) error {
		return fmt.Errorf("source of slot %d: %d of %d lessons are answered: %w", c.slot, c.next, len(c.lessons), err)
	}
	switch {
	case c.broken != nil:
		return c.broken
	case c.refused != nil && errors.Is(c.refused, ErrClosed) && sc.cutShort() && c.next == 0 && c.ended == nil:
		return nil
	case c.refused != nil:
		return wrong(c.refused)
	case !c.Done():
		return wrong(errors.New("it is neither done nor failed"))
	case c.ended == nil:
		return nil
	case errors.Is(c.ended, ErrClosed) && sc.stopAt > 0 || errors.Is(c.ended, errDevice) && sc.failAt >= 0:
		return nil
	}
	n := len(c.lessons[c.next].Tokens)
	never := n > sc.trainRows || blocksFor(n) > sc.cacheBlocks
	if !never || c.ended.Error() != neverFits(sc.trainRows, sc.cacheBlocks) {
		return wrong(c.ended)
	}
	return nil
}

// neverFits is the error of a source that has no work for a step of its own.
func neverFits(trainRows, cacheBlocks int) string {
	return fmt.Sprintf("its next sequence does not fit: a step takes %d training rows and the cache has %d blocks of %d tokens", trainRows, cacheBlocks, batch.BlockSize)
}
