package scheduler

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/batch"
)

// trainSim is a runner with fewer training rows than rows.
func trainSim(context, maxRows, trainRows, cacheBlocks int) *sim {
	m := newSim(context, maxRows, cacheBlocks)
	m.trainRows = trainRows
	return m
}

// lessons is a source of so many lessons of one length, each with its update.
func lessons(slot, n, length int) *course {
	c := &course{slot: slot, most: n}
	for range n {
		c.add(batch.Train, length, 1, true)
	}
	return c
}

// finished checks that a source had all its answers.
func finished(t *testing.T, c *course) {
	t.Helper()
	assert.NoError(t, c.broken)
	assert.NoError(t, c.ended)
	assert.Equal(t, len(c.lessons), c.next, "answered lessons of slot %d", c.slot)
}

// rested checks that everything ended well.
func rested(t *testing.T, s *Scheduler, m *sim, stop func() error) {
	t.Helper()
	require.NoError(t, stop())
	assert.NoError(t, m.broken)
	assert.NoError(t, atRest(s))
}

// trained is the slot that each step trained first, of the steps that train.
func trained(steps []batch.Step) (slots []int) {
	for _, step := range steps {
		for _, span := range step.Spans {
			if span.Kind == batch.Train {
				slots = append(slots, span.Slot)
				break
			}
		}
	}
	return slots
}

func TestTrainingFillsWhatRequestsLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := trainSim(100, 16, 12, 20)
		s := New(m)
		c := lessons(7, 10, 4)
		c.lessons[3].Kind, c.lessons[3].update = batch.Eval, false
		stream, err := s.Submit(t.Context(), ask(0, 10, 9))
		require.NoError(t, err)
		require.NoError(t, s.Train(c))
		stop := begin(s)
		assert.Equal(t, Event{Finish: Length}, last(stream))
		time.Sleep(time.Second)
		rested(t, s, m, stop)
		finished(t, c)
		kinds := func(step int) (all []batch.Kind) {
			for _, span := range m.steps[step].Spans {
				all = append(all, span.Kind)
			}
			return all
		}
		assert.Equal(t, []batch.Kind{batch.Train, batch.Prefill}, kinds(0), "beside a prompt")
		assert.Equal(t, []batch.Kind{batch.Train, batch.Decode}, kinds(1), "beside a token")
		assert.Equal(t, []batch.Kind{batch.Eval, batch.Decode}, kinds(3), "no training after an evaluation")
	})
}

// A step with room for one source only goes to each in turn, also where
// requests leave room in every other step.
func TestSourcesTakeTurns(t *testing.T) {
	for _, n := range []int{2, 3} {
		for _, busy := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := trainSim(100, 8, 8, 20)
				s := New(m)
				var sources []*course
				for i := range n {
					sources = append(sources, lessons(i, 6, 8))
					require.NoError(t, s.Train(sources[i]))
				}
				stop := begin(s)
				time.Sleep(stepTime / 2)
				for i := 0; busy && i < 6*n; i++ {
					_, err := s.Submit(t.Context(), ask(batch.Base, 1, 1))
					require.NoError(t, err)
					time.Sleep(2 * stepTime)
				}
				time.Sleep(time.Second)
				rested(t, s, m, stop)
				for _, c := range sources {
					finished(t, c)
				}
				order := trained(m.steps)
				require.Len(t, order, 6*n)
				for round := range slices.Chunk(order, n) {
					assert.Len(t, slices.Compact(slices.Sorted(slices.Values(round))), n, "busy %t: %v", busy, order)
				}
				if busy {
					assert.Len(t, m.steps, 12*n, "every other step is a request's")
				}
			})
		}
	}
}

// TestBadOffers: a source that breaks the rules fails; nobody else notices.
func TestBadOffers(t *testing.T) {
	each := func(change func(*batch.Span)) func([]batch.Span) []batch.Span {
		return func(spans []batch.Span) []batch.Span {
			for i := range spans {
				change(&spans[i])
			}
			return spans
		}
	}
	tiny := func(n int) func([]batch.Span) []batch.Span {
		return func(spans []batch.Span) []batch.Span {
			one := spans[0]
			one.Tokens, one.Wants = one.Tokens[:1], nil
			return slices.Repeat([]batch.Span{one}, n)
		}
	}
	for _, c := range []struct {
		name, err string
		spoil     func([]batch.Span) []batch.Span
	}{
		{"prefill", "BUG: a source offers prefill rows", each(func(s *batch.Span) { s.Kind = batch.Prefill })},
		{"decode", "BUG: a source offers decode rows", each(func(s *batch.Span) { s.Kind = batch.Decode })},
		{"rows", "rows too many", func(s []batch.Span) []batch.Span { return slices.Repeat(s, 4) }},
		{"blocks", "BUG: a source offers more than there are cache blocks", tiny(9)},
		{"refused", errUnusable.Error(), each(func(s *batch.Span) { s.Slot = unusableSlot })},
		{"the last is refused", errUnusable.Error(), func(s []batch.Span) []batch.Span {
			bad := s[0]
			bad.Slot = unusableSlot
			return append(s, bad)
		}},
		{"too long", "13 positions, but the context is 12", func(s []batch.Span) []batch.Span {
			s[0].Tokens = slices.Repeat(s[0].Tokens, 4)[:13]
			return s
		}},
		{"blocks of its own", "BUG: a source offers decode rows", each(func(s *batch.Span) { s.Kind, s.Blocks = batch.Decode, []int32{0, 1} })},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := trainSim(12, 16, 13, 8)
				s, stop := start(m)
				bad, before, after := lessons(5, 2, 4), lessons(4, 9, 1), lessons(6, 9, 1)
				bad.most, bad.spoil = 1, c.spoil
				if c.name == "too long" {
					bad.wait = time.Second // it needs the step for itself
				}
				stream, err := s.Submit(t.Context(), ask(0, 1, 12))
				require.NoError(t, err)
				(&scenario{courses: []*course{bad, before, after}}).addCourses(s).Wait()
				time.Sleep(time.Second)
				assert.Equal(t, Event{Finish: Length}, last(stream))
				rested(t, s, m, stop)
				assert.NoError(t, bad.broken)
				assert.ErrorContains(t, bad.ended, c.err)
				assert.Zero(t, bad.next)
				finished(t, before)
				finished(t, after)
			})
		})
	}
}

func TestWhatNeverFits(t *testing.T) {
	for name, c := range map[string]struct {
		m      *sim
		length int
	}{
		"rows":        {trainSim(100, 8, 4, 9), 5},
		"no training": {trainSim(100, 8, 0, 9), 1},
		"blocks":      {trainSim(100, 40, 40, 2), 33},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := start(c.m)
				source := lessons(1, 2, c.length)
				stream, err := s.Submit(t.Context(), ask(0, 5, 20))
				require.NoError(t, err)
				synctest.Wait() // the request runs: a source that is alone fails at once
				require.NoError(t, s.Train(source))
				time.Sleep(10 * stepTime)
				require.NoError(t, s.Do(func() { assert.False(t, source.Done(), "while a request runs") }))
				assert.Equal(t, Event{Finish: Length}, last(stream))
				time.Sleep(stepTime)
				rested(t, s, c.m, stop)
				assert.EqualError(t, source.ended, neverFits(c.m.trainRows, c.m.cacheBlocks))
				assert.NoError(t, source.broken)
			})
		})
	}
}

// A source that finds too little room beside requests waits for its turn.
func TestWhatFitsLater(t *testing.T) {
	for name, c := range map[string]struct {
		m              *sim
		prompt, length int
	}{"rows": {trainSim(100, 8, 8, 20), 5, 8}, "blocks": {trainSim(100, 90, 90, 7), 70, 33}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(c.m)
				source := lessons(1, 3, c.length)
				stream, err := s.Submit(t.Context(), ask(0, c.prompt, 25))
				require.NoError(t, err)
				require.NoError(t, s.Train(source))
				stop := begin(s)
				assert.Equal(t, Event{Finish: Length}, last(stream))
				time.Sleep(time.Second)
				rested(t, s, c.m, stop)
				finished(t, source)
				require.Greater(t, len(c.m.steps), 25)
				assert.Empty(t, trained(c.m.steps[:25]))
			})
		})
	}
}

// A source that is added while others are asked is not failed unasked.
func TestASourceAddsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := trainSim(100, 8, 4, 9)
		s, stop := start(m)
		first, second := lessons(1, 1, 5), lessons(2, 3, 4)
		first.pause = func(int, int) bool {
			assert.NoError(t, s.Train(second))
			return true
		}
		require.NoError(t, s.Train(first))
		time.Sleep(time.Second)
		rested(t, s, m, stop)
		assert.EqualError(t, first.ended, neverFits(4, 9))
		finished(t, second)
	})
}

func TestSourcesFailWithTheRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := trainSim(100, 16, 8, 9)
		m.before = func(step int) error {
			if step == 2 {
				return errDevice
			}
			return nil
		}
		s, stop := start(m)
		running, waiting, ended := lessons(1, 9, 5), lessons(2, 9, 8), lessons(3, 1, 3)
		for _, c := range []*course{running, waiting, ended} {
			require.NoError(t, s.Train(c))
		}
		time.Sleep(10 * stepTime)
		assert.ErrorIs(t, s.Train(lessons(4, 1, 4)), ErrClosed)
		assert.EqualError(t, stop(), "run a step: device lost")
		assert.NoError(t, atRest(s))
		for _, c := range []*course{running, waiting} {
			assert.NoError(t, c.broken)
			assert.ErrorIs(t, c.ended, errDevice)
		}
		assert.Equal(t, 2, running.next+waiting.next, "what was answered before counts")
		finished(t, ended)
	})
}

func TestSourcesEndWithTheScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := trainSim(100, 16, 8, 9)
		s, stop := start(m)
		c := lessons(1, 9, 8)
		c.fails = func() { assert.ErrorIs(t, s.Train(lessons(2, 1, 1)), ErrClosed, "from inside") }
		require.NoError(t, s.Train(c))
		time.Sleep(2*stepTime + stepTime/2)
		rested(t, s, m, stop)
		assert.Equal(t, 3, c.next, "the step that was running still counts")
		assert.NoError(t, c.broken)
		assert.Equal(t, ErrClosed, c.ended)

		late := lessons(1, 1, 1)
		assert.ErrorIs(t, s.Train(late), ErrClosed)
		assert.False(t, late.Done())
	})
}

func TestASourceWakesTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := trainSim(100, 16, 8, 9)
		s, stop := start(m)
		for range 2 {
			synctest.Wait() // the loop has nothing to do
			begun, c := time.Now(), lessons(1, 3, 8)
			require.NoError(t, s.Train(c))
			synctest.Wait()
			time.Sleep(3 * stepTime)
			synctest.Wait()
			require.NoError(t, s.Do(func() { finished(t, c) }))
			assert.Equal(t, 3*stepTime, time.Since(begun))
		}
		rested(t, s, m, stop)
	})
}

// Of two sources that update one slot in one step the second fails.
func TestTwoUpdatesOfASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := trainSim(100, 16, 16, 20)
		s := New(m)
		first, second := lessons(7, 3, 4), lessons(7, 3, 4)
		require.NoError(t, s.Train(first))
		require.NoError(t, s.Train(second))
		stop := begin(s)
		time.Sleep(time.Second)
		rested(t, s, m, stop)
		finished(t, first)
		assert.ErrorContains(t, second.ended, "BUG: two updates of slot 7 in a step")
	})
}
