package virtualmod

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/scheduler"
)

// steps is the engine with its steps counted.
type steps struct {
	*engine.Engine
	begun atomic.Int64
	last  sync.Map // by slot: the last step with rows of it
}

func (s *steps) Start(step *batch.Step) error {
	n := s.begun.Add(1)
	for i := range step.Spans {
		s.last.Store(step.Spans[i].Slot, n)
	}
	return s.Engine.Start(step)
}

// traced notes at which step the loop is asked for what.
type traced struct {
	*scheduler.Scheduler
	steps *steps
	mu    sync.Mutex
	apart []int64       // steps before which nothing was in flight
	small []int64       // steps before which a piece was sent
	lag   time.Duration // of who has sent a piece
}

func (l *traced) Do(f func()) error {
	return l.Scheduler.Do(func() {
		l.mu.Lock()
		l.apart = append(l.apart, l.steps.begun.Load())
		l.mu.Unlock()
		f()
	})
}

func (l *traced) Beside(f func()) error {
	var lag time.Duration
	err := l.Scheduler.Beside(func() {
		l.mu.Lock()
		l.small = append(l.small, l.steps.begun.Load())
		lag = l.lag
		l.mu.Unlock()
		f()
	})
	time.Sleep(lag)
	return err
}

// served is a bench whose requests a scheduler runs, and whose adapters a loader
// brings.
type served struct {
	*bench
	steps  *steps
	loop   *traced
	loader *Loader
}

func serve(t *testing.T, config engine.Config) *served {
	t.Helper()
	s := &served{bench: openWith(t, config)}
	s.turn = 20 * time.Millisecond
	s.steps = &steps{Engine: s.engine}
	s.loop = &traced{Scheduler: scheduler.New(s.steps), steps: s.steps}
	s.loader = NewLoader(s.Base, s.loop)
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { assert.NoError(t, s.loop.Run(ctx)) })
	loading, end := context.WithCancel(context.Background())
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		s.loader.Run(loading)
	}()
	t.Cleanup(func() {
		end()
		<-loaded
		stop()
		all.Wait()
		require.Empty(t, s.claims)
		require.Empty(t, s.wants)
		for slot, coming := range s.coming {
			require.False(t, coming, "slot %d", slot)
		}
		for _, v := range s.residents {
			require.True(t, v == nil || v.leases == 0)
		}
	})
	return s
}

func smallPieces(slots int) engine.Config {
	return engine.Config{DType: "f32", Context: 512, CacheBlocks: 64, MaxRows: 32, TrainRows: 16, Slots: slots, Piece: 2048}
}

// stream is a request under way.
type stream struct {
	claim  *Claim
	events <-chan scheduler.Event
	leave  context.CancelFunc
}

func (s *served) submit(name string, tokens int) *stream {
	s.Helper()
	return s.ask(name, []int32{5, 17, 3, 60, 9}, tokens)
}

func (s *served) ask(name string, prompt []int32, tokens int) *stream {
	s.Helper()
	c, err := s.Claim(name)
	require.NoError(s, err)
	ctx, leave := context.WithCancel(s.Context())
	events, err := s.loop.Submit(ctx, scheduler.Request{
		Adapter: c, Prompt: prompt, MaxTokens: tokens, Sampling: batch.Greedy(), LogProbs: 0, PromptLogProbs: -1,
	})
	require.NoError(s, err)
	return &stream{c, events, leave}
}

// tokens are a stream's, which must end as asked for.
func (s *served) tokens(r *stream) (all []batch.Pick) {
	s.Helper()
	for e := range r.events {
		if e.Token != nil {
			all = append(all, *e.Token)
		}
		require.NoError(s, e.Err)
	}
	r.leave()
	return all
}

// failure is the error that a stream ends with.
func (s *served) failure(r *stream) (err error) {
	s.Helper()
	for e := range r.events {
		err = e.Err
	}
	require.Error(s, err)
	return err
}

// The adapter of a queued request comes while others run: between its pieces their
// steps go on, and its own request begins with the first step behind it.
func TestAdaptersComeWhileRequestsRun(t *testing.T) {
	s := serve(t, smallPieces(2))
	s.attachRandom("a", 4)
	alone := s.tokens(s.submit("", 150))
	want := s.tokens(s.submit("a", 1))
	require.NoError(t, s.loop.Do(func() { // it leaves the device
		s.mu.Lock()
		defer s.mu.Unlock()
		require.NoError(t, s.putOut(s.names["a"].current))
	}))
	s.loop.apart, s.loop.small = nil, nil
	s.steps.last.Clear()
	running := s.submit("", 150)
	<-running.events
	from := s.steps.begun.Load()
	late := s.submit("a", 1)
	requireClose(t, want, s.tokens(late))
	requireClose(t, alone[1:], s.tokens(running))
	at, ok := s.steps.last.Load(late.claim.Slot())
	require.True(t, ok)
	begun := at.(int64)
	pieces := (s.names["a"].current.info.Parameters*4 + 2047) / 2048
	require.GreaterOrEqual(t, len(s.loop.small), pieces)
	require.Len(t, s.loop.apart, 2, "only to take memory and to enter it into the table")
	require.Equal(t, s.loop.apart[1]+1, begun, "the first step after it is there")
	require.Greater(t, s.loop.apart[1]-s.loop.apart[0], int64(pieces/4), "steps ran between the pieces")
	require.Less(t, s.loop.apart[0]-from, int64(30), "it was fetched when the request queued")
}

// Ten adapters in two slots: every request waits for its adapter, and each ends as
// it would alone.
func TestMoreAdaptersThanSlots(t *testing.T) {
	s := serve(t, smallPieces(2))
	want := map[string][]batch.Pick{}
	var names []string
	for i := range 10 {
		name := fmt.Sprint("adapter ", i)
		names = append(names, name)
		s.attachRandom(name, uint64(i))
		want[name] = s.tokens(s.submit(name, 12))
	}
	var all []*stream
	for i := range 40 {
		all = append(all, s.submit(names[i*7%len(names)], 12))
	}
	for i, r := range all {
		requireClose(t, want[names[i*7%len(names)]], s.tokens(r))
	}
}

// requireClose compares picks whose rows shared their steps with others'.
func requireClose(t *testing.T, want, got []batch.Pick) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Token, got[i].Token, "token %d", i)
		require.InDelta(t, want[i].LogProb, got[i].LogProb, 1e-4, "token %d", i)
	}
}

// An adapter that is asked for all the time keeps its slot for a while, then it
// makes room: requests that run end on it, those that come later wait their turn, and
// those of others are not held up.
func TestNobodyKeepsASlotForEver(t *testing.T) {
	s := serve(t, smallPieces(2))
	for i, name := range []string{"a", "b", "c"} {
		s.attachRandom(name, uint64(i))
	}
	var mu sync.Mutex
	over := false
	var flood sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		for range 3 {
			flood.Go(func() {
				for {
					mu.Lock()
					done := over
					mu.Unlock()
					if done {
						return
					}
					s.tokens(s.submit(name, 10))
				}
			})
		}
	}
	for range 3 {
		s.tokens(s.submit("c", 5))
	}
	mu.Lock()
	over = true
	mu.Unlock()
	flood.Wait()
}

// What cannot be loaded fails the requests that wait for it, in its own words, and
// nobody else.
func TestAdaptersThatCannotCome(t *testing.T) {
	s := serve(t, smallPieces(2))
	s.attachRandom("a", 1)
	want := s.tokens(s.submit("a", 20))
	torn := errors.New("torn")
	full := fmt.Errorf("allocate: %w", engine.ErrOutOfMemory)
	s.push("broken", Info{}, unruly{s.random(2), s.bench, -1, torn})
	s.push("large", Info{}, unruly{s.random(3), s.bench, -1, full})
	running, broken, large := s.submit("a", 20), s.submit("broken", 5), s.submit("large", 5)
	require.EqualError(t, s.failure(broken), "load adapter broken: torn")
	require.EqualError(t, s.failure(large), "load adapter large: allocate: out of device memory")
	requireClose(t, want, s.tokens(running))
	_, err := s.Claim("nobody")
	require.EqualError(t, err, `unknown adapter "nobody": known are a, broken, large`)
	gone := s.submit("broken", 5)
	require.NoError(t, s.loop.Do(func() { require.NoError(t, s.Detach("broken")) }))
	require.Error(t, s.failure(gone))
	requireClose(t, want, s.tokens(s.submit("a", 20)))
}

// A load that nobody waits for any longer is given up in its middle, and takes
// nothing.
func TestALoadIsGivenUp(t *testing.T) {
	s := serve(t, smallPieces(2))
	s.attachRandom("a", 4)
	s.attachRandom("b", 5)
	for _, name := range []string{"a", "b"} { // the engine makes room once
		s.tokens(s.submit(name, 2))
		require.NoError(t, s.loop.Do(func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			require.NoError(t, s.putOut(s.names[name].current))
		}))
	}
	want := s.tokens(s.submit("", 100))
	var used uint64
	require.NoError(t, s.loop.Do(func() { used = s.engine.Used() }))
	running := s.submit("", 100)
	late := s.submit("a", 5)
	require.Eventually(t, func() bool {
		s.loop.mu.Lock()
		defer s.loop.mu.Unlock()
		return len(s.loop.small) > 3
	}, time.Minute, 10*time.Microsecond)
	late.leave()
	require.ErrorIs(t, s.failure(late), context.Canceled)
	require.Equal(t, want, s.tokens(running))
	require.Eventually(t, func() bool {
		var now uint64
		require.NoError(t, s.loop.Do(func() { now = s.engine.Used() }))
		return now == used
	}, time.Minute, time.Millisecond)
	require.False(t, s.state("a").Resident)
	require.NoError(t, s.Want("a"))
	require.Eventually(t, func() bool { return s.state("a").Resident }, time.Minute, time.Millisecond)
}

// A request that began before a publish ends on its version, with what it has in the
// cache; those that come behind it begin on the new one, and find nothing of the old.
func TestAPublishInMidStream(t *testing.T) {
	s := serve(t, smallPieces(3))
	var job *Trainee
	require.NoError(t, s.loop.Do(func() { job = s.train(1) }))
	require.NoError(t, s.loader.Publish(job, "live"))
	prompt := make([]int32, 40)
	for i := range prompt {
		prompt[i] = int32(3 + i*5%60)
	}
	ask := func(tokens int) *stream { return s.ask("live", prompt, tokens) }
	first := s.tokens(ask(60))
	reused := s.loop.Stats().PrefixTokens
	running := ask(60)
	event := <-running.events
	require.Equal(t, first[0].Token, event.Token.Token)
	require.Equal(t, reused+32, s.loop.Stats().PrefixTokens)
	require.NoError(t, s.loop.Do(func() { s.learn(job, 1.5) }))
	require.NoError(t, s.loader.Publish(job, "live"))
	second := s.tokens(ask(60))
	require.Equal(t, reused+32, s.loop.Stats().PrefixTokens, "nothing of the old version")
	require.NotEqual(t, first[0].LogProb, second[0].LogProb)
	requireClose(t, first[1:], s.tokens(running))
	requireClose(t, second, s.tokens(ask(60)))
	require.Equal(t, reused+64, s.loop.Stats().PrefixTokens, "but of its own")

	require.NoError(t, s.loop.Do(func() { require.NoError(t, s.Rollback("live")) }))
	requireClose(t, first, s.tokens(ask(60)))
	require.Equal(t, reused+96, s.loop.Stats().PrefixTokens, "it is the first version again")
	a := s.random(6)
	require.NoError(t, s.loop.Do(func() {
		require.NoError(t, s.Detach("live"))
		require.NoError(t, s.Add("live", a))
	}))
	again := s.tokens(ask(60))
	require.Equal(t, reused+96, s.loop.Stats().PrefixTokens, "another adapter of the same name")
	require.NotEqual(t, first[0].LogProb, again[0].LogProb)
	require.NoError(t, s.loop.Do(func() { require.NoError(t, job.End()) }))
}

// Who waits for an adapter holds it, whatever makes it leave the device meanwhile.
func TestWhoWaitsHolds(t *testing.T) {
	b := openBench(t, "f32", 1)
	b.attachRandom("a", 1)
	over := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { // it comes and goes, as far as the books tell
		v := b.names["a"].current
		for slot := 0; ; slot = nowhere - slot {
			select {
			case <-over:
				b.mu.Lock()
				defer b.mu.Unlock()
				v.slot = nowhere
				return
			default:
			}
			b.mu.Lock()
			v.slot = slot
			for slot != nowhere && len(b.wants) > 0 {
				b.satisfy(b.wants[0], nil)
			}
			b.mu.Unlock()
		}
	})
	for range 100_000 {
		c, err := b.Claim("a")
		require.NoError(t, err)
		if err := c.Wait(t.Context()); !assert.NoError(t, err) {
			break
		}
		c.Release()
	}
	close(over)
	all.Wait()
}

// A version that cannot be read is no reason for others not to come.
func TestAVersionThatCannotBeRead(t *testing.T) {
	s := serve(t, smallPieces(4))
	s.attachRandom("a", 1)
	var job *Trainee
	require.NoError(t, s.loop.Do(func() { job = s.train(2) }))
	require.NoError(t, s.loader.Publish(job, "live"))
	require.NoError(t, s.loop.Do(func() { require.NoError(t, s.engine.Detach(s.names["live"].current.slot)) })) // behind the base's back
	require.NoError(t, s.loader.Publish(job, "live"))
	s.tokens(s.submit("live", 3))
	s.tokens(s.submit("a", 3))
	require.NoError(t, s.loop.Do(func() { require.NoError(t, job.End()) }))
}

// Where the loop or the loader has ended, nobody waits for an adapter for ever.
func TestNobodyWaitsForALoaderThatHasEnded(t *testing.T) {
	b := openBench(t, "f32", 1)
	b.attachRandom("a", 1)
	before, err := b.Claim("a")
	require.NoError(t, err)
	defer before.Release()
	loop := scheduler.New(b.engine)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, loop.Run(stopped))
	NewLoader(b.Base, loop).Run(t.Context())
	require.ErrorIs(t, before.Wait(t.Context()), ErrNotLoading)
	after, err := b.Claim("a")
	require.NoError(t, err)
	defer after.Release()
	require.ErrorIs(t, after.Wait(t.Context()), ErrNotLoading)
}
