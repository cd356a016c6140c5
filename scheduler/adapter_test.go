package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shelf simulates adapters that come and go: which are in which slot, and how
// often each is held.
type shelf struct {
	slots   map[string]int
	version map[string]uint64
	holds   map[string]int
	broken  map[string]error
	lacks   error
}

func newShelf() *shelf {
	return &shelf{slots: map[string]int{}, version: map[string]uint64{}, holds: map[string]int{}, broken: map[string]error{}}
}

// visit is a request's Adapter on a shelf.
type visit struct {
	shelf    *shelf
	name     string
	held     bool
	released int
}

func (v *visit) Name() string { return v.name }
func (v *visit) Ready() bool {
	_, there := v.shelf.slots[v.name]
	return there || v.shelf.broken[v.name] != nil
}

func (v *visit) Lacks() error { return v.shelf.lacks }

func (v *visit) Hold() (int, uint64, error) {
	if err := v.shelf.broken[v.name]; err != nil {
		return 0, 0, err
	}
	slot, there := v.shelf.slots[v.name]
	if !there || v.held {
		panic("an adapter is held that is not there, or twice")
	}
	v.held = true
	v.shelf.holds[v.name]++
	return slot, v.shelf.version[v.name], nil
}

func (v *visit) Release() {
	if v.released++; v.held {
		v.shelf.holds[v.name]--
	}
}

// on is a request on an adapter of a shelf.
func (s *shelf) on(name string, r Request) (Request, *visit) {
	v := &visit{shelf: s, name: name}
	r.Adapter = v
	return r, v
}

// A request whose adapter is not there waits, holds up nobody, and begins with the
// step after the adapter has come.
func TestAdaptersAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, adapters := newSim(100, 8, 20), newShelf()
		adapters.slots["b"] = 1
		s, stop := start(m)
		submit := func(name string) (<-chan Event, *visit) {
			r, v := adapters.on(name, ask(0, 5, 3))
			stream, err := s.Submit(t.Context(), r)
			require.NoError(t, err)
			return stream, v
		}
		between := func(f func()) { require.NoError(t, s.Do(f)) }
		first, a := submit("a")
		second, b := submit("b")
		assert.Equal(t, Event{Finish: Length}, last(second))
		time.Sleep(10 * stepTime)
		between(func() { assert.Equal(t, []int{1}, started(m)) })
		assert.Equal(t, Stats{Waiting: 1, BlocksFree: 20}, s.Stats())
		between(func() { adapters.slots["a"] = 2 })
		begun := time.Now()
		assert.Equal(t, Event{Finish: Length}, last(first))
		assert.Equal(t, 3*stepTime, time.Since(begun))
		torn := errors.New("torn")
		between(func() {
			assert.Equal(t, []int{1, 2}, started(m))
			assert.Equal(t, [2]int{1, 1}, [2]int{a.released, b.released})
			adapters.broken["c"] = torn
		})
		third, c := submit("c")
		assert.Equal(t, Event{Finish: Failed, Err: torn}, last(third))
		ctx, leave := context.WithCancel(t.Context())
		r, d := adapters.on("d", ask(0, 5, 3))
		fourth, err := s.Submit(ctx, r)
		require.NoError(t, err)
		leave()
		between(func() {})
		assert.ErrorIs(t, last(fourth).Err, context.Canceled)
		fifth, e := submit("e")
		require.NoError(t, stop())
		assert.ErrorIs(t, last(fifth).Err, ErrClosed)
		assert.Equal(t, [3]int{1, 1, 1}, [3]int{c.released, d.released, e.released})
		assert.NoError(t, atRest(s))
	})
}

// What an adapter has computed is found again by its version, in whatever slot it
// is then.
func TestPrefixesFollowTheVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, adapters := newSim(100, 8, 20), newShelf()
		s, stop := start(m)
		for i, c := range []struct {
			slot    int
			version uint64
			reused  uint64
		}{{1, 7, 0}, {1, 7, 32}, {1, 8, 32}, {2, 7, 64}} {
			require.NoError(t, s.Do(func() {
				adapters.slots["a"], adapters.version["a"], m.versions[c.slot] = c.slot, c.version, c.version
			}))
			r, _ := adapters.on("a", ask(0, 40, 2))
			stream, err := s.Submit(t.Context(), r)
			require.NoError(t, err)
			last(stream)
			assert.Equal(t, c.reused, s.Stats().PrefixTokens, "request %d", i)
		}
		require.NoError(t, stop())
	})
}

// What is done beside the steps waits for none of them, and comes once a step.
func TestBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSim(100, 8, 20)
		s, stop := start(m)
		at := make(chan int, 20)
		call := func() { go func() { assert.NoError(t, s.Beside(func() { at <- m.begun })) }() }
		for range 3 { // none runs: all at once
			call()
		}
		synctest.Wait()
		for range 3 {
			assert.Zero(t, <-at)
		}
		stream, err := s.Submit(t.Context(), ask(0, 5, 30))
		require.NoError(t, err)
		time.Sleep(5*stepTime - stepTime/2)
		for range 4 {
			call()
		}
		assert.Equal(t, Event{Finish: Length}, last(stream))
		synctest.Wait()
		first := <-at
		for i := range 3 {
			assert.Equal(t, first+1+i, <-at)
		}
		for i, step := range m.steps {
			assert.Len(t, step.Spans, 1, "step %d", i)
		}
		assert.Len(t, m.steps, 30, "no step was lost")
		require.NoError(t, stop())
		assert.ErrorIs(t, s.Beside(func() { t.Error("called after the stop") }), ErrClosed)
	})
}

// Where only training runs many pieces go before one of its steps, also those that are
// asked for one after the other; a request is served before the next.
func TestPiecesBesideTraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := trainSim(100, 16, 16, 20)
		s, stop := start(m)
		require.NoError(t, s.Train(lessons(3, 20, 16)))
		time.Sleep(3*stepTime + stepTime/2)
		var at []int
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 10 {
				assert.NoError(t, s.Beside(func() { at = append(at, m.begun) }))
				if time.Sleep(stepTime / 10); i == 6 {
					_, err := s.Submit(t.Context(), ask(0, 5, 3))
					assert.NoError(t, err)
				}
			}
		}()
		<-done
		first := at[0]
		assert.Equal(t, slices.Repeat([]int{first}, 7), at[:7])
		assert.Greater(t, at[7], first, "the request was begun before")
		assert.Equal(t, []int{at[7] + 1, at[7] + 2}, at[8:])
		time.Sleep(time.Second)
		require.NoError(t, stop())
		require.NoError(t, atRest(s))
	})
}

// TestAdaptersUnderRandomUse: whatever comes, goes and is exchanged, every request
// ends as it would alone on the version that it began with, and gives its adapter back
// once.
func TestAdaptersUnderRandomUse(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) { exchange(t, rand.New(rand.NewPCG(seed, 1)), fmt.Sprint("seed ", seed)) })
	}
}

func exchange(t *testing.T, random *rand.Rand, label string) {
	m, adapters := newSim(60, 1+random.IntN(12), 5+random.IntN(8)), newShelf()
	names := []string{"a", "b", "c", "d", "e"}
	s, stop := start(m)
	version := uint64(0)
	shuffle := func() { // what is not held makes room for others
		for _, name := range names {
			if adapters.holds[name] == 0 && random.IntN(2) == 0 {
				delete(adapters.slots, name)
			}
		}
		taken := map[int]bool{}
		for _, slot := range adapters.slots {
			taken[slot] = true
		}
		for _, slot := range []int{0, 1, 2} {
			name := names[random.IntN(len(names))]
			if _, there := adapters.slots[name]; there || taken[slot] {
				continue
			}
			if version++; random.IntN(2) == 0 || adapters.version[name] == 0 {
				adapters.version[name] = version
			}
			adapters.slots[name], m.versions[slot] = slot, adapters.version[name]
		}
	}
	var visits []*visit
	var streams []<-chan Event
	for range 25 {
		r, v := adapters.on(names[random.IntN(len(names))], ask(0, 1+random.IntN(30), 1+random.IntN(20)))
		r.Priority = random.IntN(3)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		if random.IntN(5) == 0 {
			time.AfterFunc(time.Duration(random.IntN(40))*stepTime, leave)
		}
		stream, err := s.Submit(ctx, r)
		if err != nil {
			continue // it could never run
		}
		visits, streams = append(visits, v), append(streams, stream)
		time.Sleep(time.Duration(random.IntN(4000)) * time.Microsecond)
		require.NoError(t, s.Do(shuffle), label)
	}
	for _, stream := range streams {
		for open := true; open; {
			select {
			case _, open = <-stream:
			case <-time.After(stepTime):
				require.NoError(t, s.Do(shuffle), label)
			}
		}
	}
	require.NoError(t, stop(), label)
	require.NoError(t, m.broken, label)
	require.NoError(t, atRest(s), label)
	for _, v := range visits {
		require.Equal(t, 1, v.released, label)
	}
	for _, n := range adapters.holds {
		require.Zero(t, n, label)
	}
}

// A request whose adapter does not come ends at its time, with the reason, whether or not
// anything else runs.
func TestAnAdapterThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, adapters := newSim(100, 8, 20), newShelf()
		s := New(m, WithLimits(Limits{Wait: 20 * stepTime}))
		stop := begin(s)
		submit := func(name string) <-chan Event {
			r, _ := adapters.on(name, ask(0, 5, 3))
			stream, err := s.Submit(t.Context(), r)
			require.NoError(t, err)
			return stream
		}
		begun := time.Now()
		late := submit("b")
		require.EqualError(t, last(late).Err, "the request has waited too long: 20ms, the limit is 20ms: adapter b is on its way")
		assert.Less(t, time.Since(begun), 21*stepTime)
		adapters.lacks = errors.New("no free slot")
		running, err := s.Submit(t.Context(), ask(0, 5, 30))
		require.NoError(t, err)
		late = submit("b")
		err = last(late).Err
		require.ErrorIs(t, err, ErrWaitedTooLong)
		require.ErrorIs(t, err, adapters.lacks)
		require.ErrorContains(t, err, "the limit is 20ms: no free slot")
		require.Equal(t, Length, last(running).Finish)
		require.NoError(t, stop())
		require.NoError(t, atRest(s))
	})
}

// A request whose adapter does not come, as when jobs hold every slot, takes nothing from
// training, however late it is.
func TestTrainingGoesOnWhileAnAdapterIsWaitedFor(t *testing.T) {
	for name, streams := range map[string]int{"alone": 0, "beside a stream": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, adapters, job := newPaced(gpu, 1024, 1024, 32, 3000), newShelf(), newJob(7, 256)
				s := New(m, WithTargets(DefaultTargets()), WithFloor(0))
				stop := begin(s)
				require.NoError(t, s.Train(job))
				time.Sleep(2 * time.Second) // to learn how long steps take
				for range streams {
					_, err := s.Submit(t.Context(), ask(0, 10, 4000))
					require.NoError(t, err)
				}
				trained := func() (rows int) {
					require.NoError(t, s.Do(func() { rows = job.rows }))
					return rows
				}
				time.Sleep(5 * time.Second)
				before := trained()
				time.Sleep(5 * time.Second)
				undisturbed := trained() - before
				r, _ := adapters.on("a", ask(0, 10, 10))
				waits, err := s.Submit(t.Context(), r)
				require.NoError(t, err)
				before = trained()
				time.Sleep(5 * time.Second)
				assert.InEpsilon(t, undisturbed, trained()-before, 0.1)
				assert.Empty(t, waits)
				require.NoError(t, stop())
				require.NoError(t, m.broken)
				require.NoError(t, atRest(s))
			})
		})
	}
}
