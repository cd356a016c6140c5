package virtualmod

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
)

// trainedBeside begins a job while steps may run, and gives it a state of its own.
func (s *served) trainedBeside(seed uint64) *Trainee {
	s.Helper()
	job, err := s.loader.Train(s.random(seed))
	require.NoError(s, err)
	s.relearn(job, 1.2)
	return job
}

// relearn is learn while steps run.
func (s *served) relearn(job *Trainee, by float32) { s.learnFrom(s.snapshotBeside, job, by) }

func (s *served) snapshotBeside(job *Trainee) (*Adapter, []byte) { return s.snapshotIn(s.loop.Do, job) }

// forget forgets what the loop was asked for, and begins to note anew.
func (l *traced) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apart, l.small = nil, nil
}

// asked is what the loop was asked for: between two steps, and in pieces.
func (l *traced) asked() (apart, pieces int, steps int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.small); n > 0 {
		steps = l.small[n-1] - l.small[0]
	}
	return len(l.apart), len(l.small), steps
}

func (s *served) end(job *Trainee) {
	s.Helper()
	require.NoError(s, s.loader.End(job))
}

// What a checkpoint needs of the device, and what a resumed job brings, goes in pieces
// beside the steps of a stream, which answers as it would alone.
func TestATrainingStateComesAndGoesBesideSteps(t *testing.T) {
	s := serve(t, smallPieces(2))
	want := s.tokens(s.submit("", 300))
	job := s.trainedBeside(4)
	count := job.shape.Info().Parameters

	s.loop.forget()
	running := s.submit("", 300)
	<-running.events
	a, state := s.snapshotBeside(job)
	apart, pieces, steps := s.loop.asked()
	require.Equal(t, 1, apart, "to set it aside")
	require.GreaterOrEqual(t, pieces, 16*count/2048)
	require.Greater(t, steps, int64(10), "steps ran between the pieces")

	s.loop.forget()
	require.NoError(t, job.Restore(state))
	apart, pieces, steps = s.loop.asked()
	require.Equal(t, 1, apart, "to end it")
	require.GreaterOrEqual(t, pieces, 16*count/2048)
	require.Greater(t, steps, int64(10))
	requireClose(t, want[1:], s.tokens(running))

	b, again := s.snapshotBeside(job)
	require.Equal(t, state, again)
	require.Equal(t, a, b)
	s.end(job)
}

// Where every slot is leased a job publishes into host memory, in pieces beside the steps
// of those who hold the slots: the weights of the moment at which it was asked.
func TestAPublishWithoutASlotStallsNobody(t *testing.T) {
	s := serve(t, smallPieces(2))
	s.turn = 1 << 40
	s.attachRandom("a", 1)
	want := s.tokens(s.submit("a", 300))
	job := s.trainedBeside(4)
	s.loop.forget()
	running := s.submit("a", 300)
	<-running.events
	require.NoError(t, s.loader.Publish(job, "live"))
	apart, pieces, _ := s.loop.asked()
	require.Equal(t, 1, apart)
	require.GreaterOrEqual(t, pieces, 4*job.shape.Info().Parameters/2048)
	require.False(t, s.state("live").Resident)
	require.Equal(t, 1, s.state("live").Number)
	late := s.submit("live", 5)
	requireClose(t, want[1:], s.tokens(running))
	first := s.tokens(late)

	a, _ := s.snapshotBeside(job)
	s.relearn(job, 1.5)
	require.NoError(t, s.loader.Publish(job, "live"))
	require.NotEqual(t, first[0].LogProb, s.tokens(s.submit("live", 5))[0].LogProb)
	require.NoError(t, s.Add("written", a))
	requireClose(t, first, s.tokens(s.submit("written", 5)))
	require.EqualError(t, s.loader.Publish(job, ""), "publish adapter : the name is empty")
	s.end(job)
}

// Where there is no memory to set a state aside, those that nobody uses make room first.
func TestASnapshotMakesRoom(t *testing.T) {
	b := openBench(t, "f32", 3)
	for i, name := range []string{"a", "b"} {
		b.attachRandom(name, uint64(i))
		require.NoError(t, b.Prefetch(name))
	}
	held := b.acquire("b")
	defer held.Release()
	tries, full := 0, fmt.Errorf("allocate: %w", engine.ErrOutOfMemory)
	_, err := b.setAside(func() (*engine.Download, error) {
		tries++
		return nil, full
	})
	require.Equal(t, full, err)
	require.Equal(t, 2, tries)
	require.False(t, b.state("a").Resident)
	require.True(t, b.state("b").Resident, "it is in use")
}

// Where jobs hold every slot a request waits for the end of one, and is told what it
// lacks meanwhile; others run on.
func TestRequestsWaitForAJobsSlot(t *testing.T) {
	s := serve(t, smallPieces(2))
	s.attachRandom("a", 1)
	want := s.tokens(s.submit("a", 20))
	alone := s.tokens(s.submit("", 100))
	jobs := []*Trainee{s.trainedBeside(4), s.trainedBeside(5)}
	late, gone := s.submit("a", 20), s.submit("a", 20)
	requireClose(t, alone, s.tokens(s.submit("", 100)))
	require.False(t, late.claim.Ready())
	require.EqualError(t, late.claim.Lacks(), "load adapter a: no free slot: of 2 slots requests use 0 and training 2")
	gone.leave()
	require.ErrorIs(t, s.failure(gone), context.Canceled)
	s.end(jobs[0])
	requireClose(t, want, s.tokens(late))
	require.NoError(t, late.claim.Lacks())
	s.end(jobs[1])
}

// A version that is published into host memory becomes the current one between two steps: who
// has found the one before ready can still hold it.
func TestAPublishTakesNothingFromWhoIsReady(t *testing.T) {
	s := serve(t, smallPieces(2))
	s.turn = 1 << 40
	job := s.trainedBeside(4)
	require.NoError(t, s.loader.Publish(job, "live"))
	first, err := s.Claim("live")
	require.NoError(t, err)
	require.NoError(t, first.Wait(t.Context()))
	s.loop.mu.Lock()
	s.loop.lag = 3 * time.Millisecond
	s.loop.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- s.loader.Publish(job, "live") }()
	for s.state("live").Number == 1 {
		c, err := s.Claim("live")
		require.NoError(t, err)
		require.NoError(t, s.loop.Do(func() {
			if c.Ready() {
				time.Sleep(time.Millisecond)
				_, _, err = c.Hold()
			}
		}))
		c.Release()
		require.NoError(t, err)
	}
	require.NoError(t, <-done)
	first.Release()
	s.end(job)
}

// An adapter for which there is no memory beside a job waits for the job's end, and
// holds up no other's way, which may come and go meanwhile.
func TestWhatDoesNotFitBesideAJobHoldsUpNobody(t *testing.T) {
	s := serve(t, smallPieces(3))
	for i, name := range []string{"a", "b", "c"} {
		s.attachRandom(name, uint64(i))
	}
	job := s.trainedBeside(4)
	full := fmt.Errorf("allocate: %w", engine.ErrOutOfMemory)
	pushed := func(name string, host hostCopy) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.push(name, Info{}, host)
	}
	pushed("large", unruly{s.random(3), s.bench, -1, full})
	large := s.submit("large", 5)
	for range 3 {
		for _, name := range []string{"a", "b", "c"} {
			s.tokens(s.submit(name, 5))
		}
	}
	require.False(t, large.claim.Ready())
	require.EqualError(t, large.claim.Lacks(), "load adapter large: out of device memory")
	require.NoError(t, s.loop.Do(func() { pushed("large", s.random(3)) }))
	s.tokens(large) // its next version does fit

	pushed("larger", unruly{s.random(3), s.bench, -1, full})
	larger := s.submit("larger", 5)
	s.tokens(s.submit("a", 5))
	require.False(t, larger.claim.Ready())
	s.end(job)
	require.EqualError(t, s.failure(larger), "load adapter larger: allocate: out of device memory")
}
