package scheduler

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQueueLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 1, 20)
		s := New(m, WithLimits(Limits{Queue: 2}))
		stop := begin(s)
		submit := func() error {
			_, err := s.Submit(t.Context(), ask(0, 1, 10))
			return err
		}
		require.NoError(t, submit())
		time.Sleep(stepTime / 2) // it runs
		require.NoError(t, submit())
		require.NoError(t, submit())
		assert.Equal(t, 2, s.Stats().Waiting)
		err := submit()
		require.ErrorIs(t, err, ErrQueueFull)
		assert.EqualError(t, err, "too many requests are waiting: 2, the limit is 2")
		_, err = s.Submit(t.Context(), ask(0, 0, 1))
		assert.ErrorIs(t, err, ErrEmptyPrompt, "what can never run is told first")
		time.Sleep(10 * stepTime)
		assert.NoError(t, submit(), "the next has begun")
		time.Sleep(time.Second)
		require.NoError(t, stop())
		require.NoError(t, atRest(s))
	})
}

// TestWaitLimit: what is begun in time may take as long as it does, also where
// it is preempted in between.
func TestWaitLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 8, 6)
		s := New(m, WithLimits(Limits{Wait: 20 * stepTime}))
		stop := begin(s)
		var streams []<-chan Event
		for slot := range 3 { // two run, and one of them is preempted
			stream, err := s.Submit(t.Context(), ask(slot, 40, 30))
			require.NoError(t, err)
			streams = append(streams, stream)
		}
		begun := time.Now()
		err := last(streams[2]).Err
		require.ErrorIs(t, err, ErrWaitedTooLong)
		assert.EqualError(t, err, "the request has waited too long: 21ms, the limit is 20ms")
		assert.Equal(t, 21*stepTime, time.Since(begun))
		assert.Equal(t, Event{Finish: Length}, last(streams[0]))
		assert.Equal(t, Event{Finish: Length}, last(streams[1]))
		assert.Positive(t, s.Stats().Preempted)
		require.NoError(t, stop())
		require.NoError(t, atRest(s))
	})
}
