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
		_, err = s.Submit(t.Context(), ask(1, 10, 3))
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, stop())
		assert.LessOrEqual(t, s.Stats().Preempted, uint64(1))
		assert.NoError(t, m.broken)
	})
}
