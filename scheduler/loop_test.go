package scheduler

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a scheduler until stop is called, which returns Run's error.
func start(m *sim) (s *Scheduler, stop func() error) {
	s = New(m)
	return s, begin(s)
}

// begin is start for a scheduler that may have work already.
func begin(s *Scheduler) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	return func() error {
		cancel()
		return <-ran
	}
}

func last(stream <-chan Event) (e Event) {
	for e = range stream {
	}
	return e
}

func TestStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(newSim(100, 8, 13))
		var streams []<-chan Event // two run, one waits
		for slot := range 3 {
			stream, err := s.Submit(t.Context(), ask(slot, 75, 9))
			require.NoError(t, err)
			streams = append(streams, stream)
		}
		time.Sleep(5*stepTime + stepTime/2)
		called := make(chan error, 1)
		go func() { called <- s.Do(func() { t.Error("called after the stop") }) }()
		synctest.Wait() // the call now waits for the step that is running

		require.NoError(t, stop())
		for _, stream := range streams {
			assert.Equal(t, Event{Finish: Failed, Err: ErrClosed}, last(stream))
		}
		assert.ErrorIs(t, <-called, ErrClosed)
		assert.NoError(t, atRest(s))
		_, err := s.Submit(t.Context(), ask(0, 5, 5))
		assert.ErrorIs(t, err, ErrClosed)
		assert.ErrorIs(t, s.Do(func() { t.Error("called after the stop") }), ErrClosed)
	})
}

func TestRunnerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 8, 7)
		m.before = func(step int) error {
			if step == 3 {
				return errDevice
			}
			return nil
		}
		s, stop := start(m)
		stream, err := s.Submit(t.Context(), ask(0, 5, 90))
		require.NoError(t, err)
		time.Sleep(10 * stepTime)
		assert.ErrorIs(t, s.Do(func() { t.Error("called after the failure") }), ErrClosed)
		assert.EqualError(t, stop(), "run a step: device lost")
		assert.ErrorIs(t, last(stream).Err, errDevice)
		assert.NoError(t, atRest(s))
	})
}

// TestLeave: a caller who goes, for whatever reason, ends its request within
// a step, running or waiting, and the next in the queue gets its room behind the step
// that has been started by then.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 8, 7)
		s, stop := start(m)
		begun := time.Now()
		slot := 0
		submit := func(ctx context.Context) <-chan Event {
			slot++ // each has a prompt of four blocks of its own
			stream, err := s.Submit(ctx, ask(slot, 60, 30))
			require.NoError(t, err)
			return stream
		}
		cancelled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*stepTime-stepTime/2, cancel)
		limited, release := context.WithTimeout(t.Context(), 10*stepTime-stepTime/2)
		defer release()
		gone, leave := context.WithCancel(t.Context())
		leave()
		first, second, third, fourth := submit(cancelled), submit(limited), submit(gone), submit(t.Context())

		for _, c := range []struct {
			stream <-chan Event
			end    Event
			after  time.Duration
		}{
			{third, Event{Finish: Failed, Err: context.Canceled}, 1 * stepTime},
			{second, Event{Finish: Failed, Err: context.DeadlineExceeded}, 10 * stepTime},
			{first, Event{Finish: Failed, Err: context.Canceled}, 20 * stepTime},
			{fourth, Event{Finish: Length}, (20 + 1 + 8 + 29) * stepTime},
		} {
			assert.Equal(t, c.end, last(c.stream))
			assert.LessOrEqual(t, time.Since(begun), c.after)
		}
		assert.Equal(t, (20+1+8+29)*stepTime, time.Since(begun), "it began when the first had gone, a step later")
		require.NoError(t, stop())
		assert.NoError(t, m.broken)
	})
}

// TestManyCallers drives one scheduler from many goroutines by the real
// clock, for the race detector.
func TestManyCallers(t *testing.T) {
	m := newSim(100, 16, 20)
	s, stop := start(m)
	var callers sync.WaitGroup
	steps := 0 // only touched between steps
	for i := range 8 {
		callers.Go(func() {
			for j := range 4 {
				ctx, cancel := context.WithCancel(t.Context())
				stream, err := s.Submit(ctx, ask(i%3, 1+i*j, 10))
				assert.NoError(t, err)
				if j == 2 {
					cancel()
				}
				assert.NoError(t, s.Do(func() { steps += len(m.steps) }))
				assert.LessOrEqual(t, s.Stats().Running, 8)
				e := last(stream)
				assert.NotEmpty(t, e.Finish)
				if j != 2 {
					assert.Equal(t, Event{Finish: Length}, e)
				}
				cancel()
			}
		})
	}
	callers.Wait()
	require.NoError(t, stop())
	assert.NoError(t, m.broken)
	assert.NoError(t, atRest(s))
}
