package scheduler

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// one at a time: the order of admission is the order of the first spans.
func oneAtATime() *sim { return newSim(200, 1, 20) }

func prioritized(slot, priority int) Request {
	return ask(slot, 1, 2).with(func(r *Request) { r.Priority = priority })
}

func TestPriorities(t *testing.T) {
	m := oneAtATime()
	serve(t, m, prioritized(0, 0), prioritized(1, 2), prioritized(2, -1), prioritized(4, 1), prioritized(5, 2))
	assert.Equal(t, []int{1, 5, 4, 0, 2}, started(m))
}

// A flood on one slot holds up no other, and within a priority only.
func TestSlotsTakeTurns(t *testing.T) {
	var requests []Request
	for range 6 {
		requests = append(requests, prioritized(0, 0))
	}
	m := oneAtATime()
	serve(t, m, append(requests, prioritized(1, 0), prioritized(2, 0), prioritized(1, 0), prioritized(0, 1))...)
	assert.Equal(t, []int{0, 1, 2, 0, 1, 0, 0, 0, 0, 0}, started(m))
}

// TestFlood: what comes to another slot is next, however long the flood has waited.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(oneAtATime())
		for range 100 {
			_, err := s.Submit(t.Context(), ask(0, 1, 150))
			require.NoError(t, err)
		}
		for range 20 {
			time.Sleep(time.Second / 2)
			begun := time.Now()
			stream, err := s.Submit(t.Context(), ask(1, 1, 2))
			require.NoError(t, err)
			assert.Equal(t, Event{Finish: Length}, last(stream))
			assert.LessOrEqual(t, time.Since(begun), (150+2)*stepTime)
		}
		require.NoError(t, stop())
	})
}

// TestNobodyStarves: under a little more load of a higher priority than can be
// served a request waits a little longer than Aging a level, and once it runs it is
// not preempted for ever.
func TestNobodyStarves(t *testing.T) {
	for _, levels := range []int{1, 3} {
		for name, c := range map[string]struct {
			m     *sim
			every time.Duration // so often one comes
		}{"rows": {oneAtATime(), 180 * stepTime}, "blocks": {newSim(200, 4, 13), 120 * stepTime}} {
			t.Run(fmt.Sprint(name, levels), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, stop := start(c.m)
					submit := func(slot, priority, prompt int) <-chan Event {
						stream, err := s.Submit(t.Context(), ask(slot, prompt, 190).with(func(r *Request) { r.Priority = priority }))
						require.NoError(t, err)
						return stream
					}
					for slot := range 5 {
						submit(10+slot, levels, 8)
					}
					begun := time.Now()
					low := submit(1, 0, 8)
					ended := make(chan time.Duration, 1)
					go func() {
						assert.Equal(t, Event{Finish: Length}, last(low))
						ended <- time.Since(begun)
					}()
					waited, over := time.Duration(0), false
					for i := 0; !over; i++ {
						require.Less(t, time.Since(begun), 3*time.Duration(levels)*Aging, "it starves")
						submit(20+i%2, levels, 8)
						select {
						case waited = <-ended:
							over = true
						case <-time.After(c.every):
						}
					}
					assert.Greater(t, waited, time.Duration(levels)*Aging/2, "the others go first")
					require.NoError(t, stop())
					assert.NoError(t, c.m.broken)
				})
			})
		}
	}
}
