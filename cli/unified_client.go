package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"loquetier/cli/replay"
	"loquetier/engine/batch"
	"loquetier/scheduler"
)

// client asks one adapter.
type client struct {
	slot    int
	version uint64
}

// connect leases the adapters that the requests take in turn; without any it
// is the base.
func (u *unified) connect(names []string) error {
	if len(names) == 0 {
		names = []string{baseName}
	}
	for _, name := range names {
		lease, err := u.lease(name)
		if err != nil {
			return err
		}
		u.later(func() error {
			lease.Release()
			return nil
		})
		u.clients = append(u.clients, client{lease.Slot(), lease.Version()})
	}
	return nil
}

// replayed is a replay under way. Its outcomes belong each to its request's
// goroutine until all have ended.
type replayed struct {
	*unified
	start    time.Time
	outcomes []replay.Outcome
	all      sync.WaitGroup
	fail     chan error // the first failure that is no drop
	cancel   context.CancelFunc
	over     atomic.Bool // what is under way is cut
}

// replay submits a load's requests when they are due, however long those
// before take, and waits for all of them, or for as long as was asked for.
func (u *unified) replay(outer context.Context, what string, load replay.Load) (replay.Run, error) {
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	r := &replayed{unified: u, outcomes: make([]replay.Outcome, len(load.Requests)), fail: make(chan error, 1), cancel: cancel}
	prompts := u.prompts(load)
	before := u.scheduler.Stats().Preempted
	u.view.begin(what, len(load.Requests))
	r.start = time.Now()
	for i, request := range load.Requests {
		r.outcomes[i].Request = request
		if sleep(ctx, time.Until(r.start.Add(request.At))) != nil {
			break
		}
		r.submit(ctx, i, prompts[i])
	}
	if u.drain > 0 {
		defer time.AfterFunc(u.drain, r.cut).Stop()
	}
	r.all.Wait()
	run := replay.Run{Outcomes: r.outcomes, Length: time.Since(r.start), Arriving: load.Length(), Trained: u.trained.since(r.start)}
	run.Preempted = int(u.scheduler.Stats().Preempted - before)
	select {
	case err := <-r.fail:
		return run, err
	default:
		return run, outer.Err()
	}
}

// cut ends what is under way.
func (r *replayed) cut() {
	r.over.Store(true)
	r.cancel()
}

// sleep waits for a time or the context's end.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prompts are random tokens, so that no two requests begin alike.
func (u *unified) prompts(load replay.Load) [][]int32 {
	random := rand.New(rand.NewPCG(u.seed, 1))
	all := make([][]int32, len(load.Requests))
	for i, r := range load.Requests {
		all[i] = randomTokens(random, r.Prompt, u.engine.Model().VocabSize)
	}
	return all
}

func randomTokens(random *rand.Rand, n, vocabulary int) []int32 {
	tokens := make([]int32, n)
	for i := range tokens {
		tokens[i] = random.Int32N(int32(vocabulary))
	}
	return tokens
}

// submit asks for a request's output, whose times a goroutine of its own
// takes.
func (r *replayed) submit(ctx context.Context, i int, prompt []int32) {
	o, to := &r.outcomes[i], r.clients[i%len(r.clients)]
	events, err := r.scheduler.Submit(ctx, scheduler.Request{
		Slot: to.slot, Version: to.version, Prompt: prompt, MaxTokens: o.Output, Sampling: batch.Greedy(), LogProbs: -1, PromptLogProbs: -1,
	})
	if err != nil {
		r.drop(i, err)
		return
	}
	o.Tokens = make([]time.Duration, 0, o.Output)
	r.all.Go(func() {
		for e := range events {
			switch {
			case e.Token != nil:
				o.Tokens = append(o.Tokens, time.Since(r.start))
			case e.Finish == scheduler.Failed:
				r.drop(i, e.Err)
			}
		}
		if !o.Dropped && !o.Cut {
			r.view.completed()
		}
	})
}

// drop notes that a request gets no answer. Only saying no for want of room
// or time is a result; anything else ends the replay, but for its own end.
func (r *replayed) drop(i int, err error) {
	if r.over.Load() && errors.Is(err, context.Canceled) {
		r.outcomes[i].Cut = true
		return
	}
	r.outcomes[i].Dropped = true
	if errors.Is(err, scheduler.ErrQueueFull) || errors.Is(err, scheduler.ErrWaitedTooLong) {
		r.view.dropped()
		return
	}
	select {
	case r.fail <- fmt.Errorf("request %d: %w", i+1, err):
		r.cancel()
	default:
	}
}
