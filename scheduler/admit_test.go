package scheduler

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runsAgain lists the slots in the order in which they compute something
// again: they were preempted.
func runsAgain(m *sim) (slots []int) {
	known := map[int]int{}
	for _, step := range m.steps {
		for _, span := range step.Spans {
			end := span.Position + len(span.Tokens)
			if span.Position < known[span.Slot] {
				slots = append(slots, span.Slot)
			}
			known[span.Slot] = max(known[span.Slot], end)
		}
	}
	return slots
}

// ends lists the slots in the order in which they had their last token.
func ends(m *sim) (slots []int) {
	for _, step := range slices.Backward(m.steps) {
		for _, span := range step.Spans {
			if !slices.Contains(slots, span.Slot) {
				slots = append(slots, span.Slot)
			}
		}
	}
	slices.Reverse(slots)
	return slots
}

// TestPreemption: three begin with a block each and grow to three, where there
// are seven. Of equal ones the youngest has to wait, of others that of the
// lowest priority, though it is the oldest.
func TestPreemption(t *testing.T) {
	m := newSim(100, 64, 7)
	serve(t, m, ask(0, 10, 30), ask(1, 10, 30), ask(2, 10, 30))
	assert.Equal(t, []int{2}, runsAgain(m))
	assert.Equal(t, 2, ends(m)[2])

	m = newSim(100, 64, 7)
	high := func(r *Request) { r.Priority = 1 }
	serve(t, m, ask(0, 10, 30), ask(1, 10, 30).with(high), ask(2, 10, 30).with(high))
	assert.Equal(t, []int{0}, runsAgain(m))
	assert.Equal(t, 0, ends(m)[2])
}

// One that is preempted finds of its blocks what nobody has taken since.
func TestPreemptedFindsItsBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 64, 6)
		s := New(m)
		for slot := range 2 {
			_, err := s.Submit(t.Context(), ask(slot, 40, 30))
			require.NoError(t, err)
		}
		stop := begin(s)
		time.Sleep(time.Second)
		require.NoError(t, stop())
		stats := s.Stats()
		assert.EqualValues(t, 1, stats.Preempted)
		// Slot 0 grows from three blocks to five and takes the free one and the last of the three that are cached.
		assert.EqualValues(t, 16, stats.PrefixTokens)
		assert.NoError(t, m.broken)
	})
}

// TestNobodyAdmittedToBePreempted: what would take the block that a running
// request needs for its next token is not let in.
func TestNobodyAdmittedToBePreempted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 64, 3)
		s, stop := start(m)
		_, err := s.Submit(t.Context(), ask(0, 32, 10))
		require.NoError(t, err)
		time.Sleep(stepTime / 2) // its prompt, two blocks, is being computed
		_, err = s.Submit(t.Context(), ask(1, 10, 3))
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, stop())
		assert.Zero(t, s.Stats().Preempted)
		assert.NoError(t, m.broken)
	})
}

// A scored prompt that is preempted before its end is scored on from where it was.
func TestPreemptedWhileScored(t *testing.T) {
	m := newSim(100, 10, 7)
	scored := ask(1, 90, 3).with(func(r *Request) { r.PromptLogProbs = 1 })
	got := serve(t, m, ask(0, 8, 30), scored, scored.with(func(r *Request) { r.Slot, r.MaxTokens = 2, 0 }))
	assert.Contains(t, runsAgain(m), 1)
	assert.Len(t, got[1].Prompt, 89)
}

// admitted submits a request and admits what can be.
func admitted(t *testing.T, s *Scheduler, r Request) {
	t.Helper()
	_, err := s.Submit(t.Context(), r)
	require.NoError(t, err)
	s.admit()
}

func slotsOf(all []*sequence) (slots []int) {
	for _, q := range all {
		slots = append(slots, q.Slot)
	}
	return slots
}

// Whoever comes first, the highest priority comes first in each step and is
// preempted last.
func TestRunningOrder(t *testing.T) {
	s := New(newSim(100, 8, 20))
	for i, priority := range []int{0, 1, -1, 1, 0} {
		admitted(t, s, prioritized(10+i, priority))
	}
	assert.Equal(t, []int{11, 13, 10, 14, 12}, slotsOf(s.running))
}

// What is preempted goes on before all others of its priority, in its order,
// and has had its slot's turn.
func TestPreemptedGoOnFirst(t *testing.T) {
	s := New(newSim(100, 3, 20))
	for _, slot := range []int{0, 0, 1, 0, 1, 2} {
		admitted(t, s, prioritized(slot, 0))
	}
	before := slices.Clone(s.running)
	assert.Equal(t, []int{0, 0, 1}, slotsOf(before))
	s.preempt(s.running[0])
	s.preempt(s.running[0])
	s.admit()
	assert.Equal(t, before, s.running)
	for range 2 {
		s.end(s.running[0], Event{Finish: Length})
		s.admit()
	}
	assert.Equal(t, []int{1, 0, 2}, slotsOf(s.running), "2 was never served, and 1 later than 0")
}
