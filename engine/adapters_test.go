package engine_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
	"loquetier/scheduler"
	"loquetier/virtualmod"
)

// life is stories with more names than slots, whose adapters are swapped,
// published, rolled back, removed and registered again while requests run.
type life struct {
	*testing.T
	random   *rand.Rand
	engine   *engine.Engine
	base     *virtualmod.Base
	loop     *scheduler.Scheduler
	loader   *virtualmod.Loader
	trainee  *virtualmod.Trainee
	names    []string
	contents map[uint64]*virtualmod.Adapter // by version
	requests []*lived
}

// lived is a request of a life.
type lived struct {
	visit
	claim   *virtualmod.Claim
	current uint64 // the version of its name when it was submitted
	cancel  context.CancelFunc
	stream  <-chan scheduler.Event
}

func newLife(t *testing.T, seed uint64, slots, blocks int) *life {
	t.Helper()
	e, _ := openStories(t, engine.Config{DType: "f32", Context: 128, MaxRows: 24, CacheBlocks: blocks, Slots: slots, TrainRows: 8, Piece: 32 << 10})
	l := &life{T: t, random: rand.New(rand.NewPCG(seed, 3)), engine: e, base: virtualmod.NewBase(e), contents: map[uint64]*virtualmod.Adapter{}}
	l.loop = scheduler.New(e)
	l.loader = virtualmod.NewLoader(l.base, l.loop)
	for _, run := range []func(context.Context){func(ctx context.Context) { require.NoError(t, l.loop.Run(ctx)) }, l.loader.Run} {
		ctx, stop := context.WithCancel(context.Background())
		var done sync.WaitGroup
		done.Go(func() { run(ctx) })
		t.Cleanup(func() {
			stop()
			done.Wait()
		})
	}
	l.populate()
	return l
}

// populate registers adapters and begins to train one, of which it publishes.
func (l *life) populate() {
	for _, name := range storyAdapters {
		l.register(name, l.story(name))
	}
	for i := range 3 {
		l.register(fmt.Sprint("random ", i), l.made(uint64(i)))
	}
	l.train()
	l.publish("live")
	l.names = append(l.names, "live")
}

// train begins to train an adapter.
func (l *life) train() {
	var err error
	l.trainee, err = l.loader.Train(l.made(9))
	require.NoError(l, err)
}

// story is one of the real adapters.
func (l *life) story(name string) *virtualmod.Adapter {
	folder, err := weights.OpenDir(stories + name)
	require.NoError(l, err)
	defer folder.Close()
	a, err := virtualmod.ReadPEFT(folder, l.engine.Model())
	require.NoError(l, err)
	return a.Clone()
}

// made is an adapter that changes much, another one for each seed.
func (l *life) made(seed uint64) *virtualmod.Adapter {
	targets, err := virtualmod.ParseTargets("all")
	require.NoError(l, err)
	a, err := virtualmod.NewAdapter(virtualmod.Spec{Rank: 2 + int(seed%3), Alpha: 8, Targets: targets}, l.engine.Model(), seed)
	require.NoError(l, err)
	random := rand.New(rand.NewPCG(seed, 17))
	for _, m := range a.Modules {
		for data := m.B.Data; len(data) > 0; data = data[4:] {
			binary.LittleEndian.PutUint32(data, math.Float32bits(0.1*(2*random.Float32()-1)))
		}
	}
	return a
}

func (l *life) register(name string, a *virtualmod.Adapter) {
	require.NoError(l, l.base.Add(name, a))
	l.names = append(l.names, name)
	l.contents[l.state(name).Version] = a
}

func (l *life) state(name string) virtualmod.State {
	s, err := l.base.State(name)
	require.NoError(l, err)
	return s
}

// publish changes what is trained and makes it the next version of a name.
func (l *life) publish(name string) {
	_, state := l.snapshot()
	for w := state[:len(state)/4]; len(w) > 0; w = w[4:] {
		binary.LittleEndian.PutUint32(w, math.Float32bits(math.Float32frombits(binary.LittleEndian.Uint32(w))*1.1))
	}
	require.NoError(l, l.trainee.Restore(state))
	a, _ := l.snapshot()
	require.NoError(l, l.loader.Publish(l.trainee, name))
	l.contents[l.state(name).Version] = a
}

func (l *life) snapshot() (*virtualmod.Adapter, []byte) {
	var read func() (*virtualmod.Adapter, []byte, error)
	var err error
	require.NoError(l, l.loop.Do(func() { read, err = l.trainee.Snapshot() }))
	require.NoError(l, err)
	a, state, err := read()
	require.NoError(l, err)
	return a, state
}

// change does something to the adapters.
func (l *life) change() {
	switch name := l.names[l.random.IntN(len(l.names))]; l.random.IntN(5) {
	case 0, 1:
		l.publish("live")
	case 2:
		l.publish(name)
	case 3:
		if l.state(name).Older > 0 {
			require.NoError(l, l.loop.Do(func() { require.NoError(l, l.base.Rollback(name)) }))
		}
	case 4: // another adapter of the same name
		a := l.made(100 + l.random.Uint64N(100))
		require.NoError(l, l.loop.Do(func() {
			require.NoError(l, l.base.Detach(name))
			require.NoError(l, l.base.Add(name, a))
		}))
		l.contents[l.state(name).Version] = a
	}
}

func (l *life) submit(stems [][]int32) {
	name := l.names[l.random.IntN(len(l.names))]
	v := visitors(l.T, l.random, []int{0}, 1)[0]
	stem := stems[l.random.IntN(len(stems))]
	v.Prompt, v.PromptLogProbs, v.leaves = stem[:4+l.random.IntN(len(stem)-4)], -1, 0
	r := &lived{visit: v, current: l.state(name).Version}
	l.send(r, name)
	if l.random.IntN(6) == 0 {
		r.leaves = 1
		time.AfterFunc(time.Duration(l.random.IntN(60))*time.Millisecond, r.cancel)
	}
	l.requests = append(l.requests, r)
}

// send submits a request on the adapter of a name.
func (l *life) send(r *lived, name string) {
	var err error
	r.claim, err = l.base.Claim(name)
	require.NoError(l, err)
	r.Adapter = r.claim
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(l.Context())
	r.stream, err = l.loop.Submit(ctx, r.Request)
	require.NoError(l, err)
}

// alone answers a request by itself on the version that it had.
func (l *life) alone(e *engine.Engine, r *lived) told {
	base := virtualmod.NewBase(e)
	require.NoError(l, base.Add("it", l.contents[r.claim.Version()]))
	lease, err := base.Acquire("it")
	require.NoError(l, err)
	request := r.Request
	request.Adapter, request.Slot = nil, lease.Slot()
	all, _ := schedule(l.T, e, visit{Request: request})
	lease.Release()
	require.NoError(l, base.Detach("it"))
	return all[0]
}

// TestAdaptersInAnyLife: requests that come and leave at random, share beginnings,
// are chunked and preempted, on adapters that are swapped, published, rolled back and
// replaced under their names meanwhile, are answered as alone on the version that they
// began with.
func TestAdaptersInAnyLife(t *testing.T) {
	lives, requests := 1, 24
	if os.Getenv("LOQUETIER_LONG") != "" {
		lives, requests = 8, 100
	}
	e, _ := openStories(t, engine.Config{DType: "f32", Context: 128, CacheBlocks: 20, Slots: 1})
	var all happened
	for seed := 0; seed < lives || !all.everything(); seed++ {
		require.Less(t, seed, 10*lives, "%+v", all)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { all.live(t, e, uint64(seed), requests) })
	}
	t.Logf("%+v", all)
}

// happened counts what lives have to have met with.
type happened struct {
	compared          int // tokens
	passed            int // requests on versions that are not current any more in the end
	chunked           int // requests whose prompts take more than a step's rows
	versions          int // that requests of one life had: where they are more than slots, some made room
	preempted, reused uint64
}

// everything tells whether all of it was met with: what comes together is chance.
func (h happened) everything() bool {
	return h.compared > 100 && h.passed > 0 && h.chunked > 0 && h.versions > lifeSlots && h.preempted > 0 && h.reused > 0
}

const lifeSlots = 3 // one of them a job's

func (h *happened) live(t *testing.T, e *engine.Engine, seed uint64, requests int) {
	l := newLife(t, seed, lifeSlots, 9)
	stems := beginnings(t)[:2]
	all := make([]told, requests)
	var listening sync.WaitGroup
	for i := range requests {
		l.submit(stems)
		stream := l.requests[i].stream
		listening.Go(func() { all[i] = listen(stream) })
		if l.random.IntN(2) == 0 {
			l.change()
		}
		time.Sleep(time.Duration(l.random.IntN(20)) * time.Millisecond)
	}
	listening.Wait()
	l.atRest()
	stats := l.loop.Stats()
	h.preempted, h.reused = h.preempted+stats.Preempted, h.reused+stats.PrefixTokens
	versions := map[uint64]bool{}
	for i, r := range l.requests {
		r.cancel()
		if r.leaves > 0 && len(all[i].tokens) == 0 {
			continue // it may never have begun
		}
		require.NoError(t, l.loop.Do(func() {})) // its adapter has been given back
		alone := l.alone(e, r)
		requireAlike(t, r.visit, alone, all[i])
		if versions[r.claim.Version()] = true; len(r.Prompt) > l.engine.MaxRows() {
			h.chunked++
		}
		h.compared += min(sure(r.visit, alone.tokens), len(all[i].tokens))
		if state, err := l.base.State(r.claim.Name()); err != nil || state.Version != r.claim.Version() {
			h.passed++
		}
	}
	h.versions = max(h.versions, len(versions))
}

// drill is a job of one sequence over and over, until it is killed.
type drill struct {
	slot, updates int
	sequences     atomic.Int64
	killed        atomic.Bool
}

func (d *drill) Next(rows, blocks int) ([]batch.Span, []batch.Update) {
	if rows < 8 || blocks < 1 {
		return nil, nil
	}
	span := batch.Span{Kind: batch.Train, Slot: d.slot, Tokens: []int32{1, 523, 538, 263, 443, 16, 429, 303}}
	for i, target := range span.Tokens[1:] {
		span.Wants = append(span.Wants, batch.Want{Row: i, Target: target})
	}
	if d.sequences.Load()%3 < 2 {
		return []batch.Span{span}, nil
	}
	d.updates++
	return []batch.Span{span}, []batch.Update{{Slot: d.slot, Targets: 21, Optimizer: batch.SGD, Step: d.updates, LR: 1e-3}}
}

func (d *drill) Commit([][]batch.Pick, []float64) { d.sequences.Add(1) }
func (d *drill) Fail(error)                       { d.killed.Store(true) }
func (d *drill) Done() bool                       { return d.killed.Load() }

// on submits a request that chooses the likeliest tokens.
func (l *life) on(name string, tokens int) *lived {
	r := &lived{visit: visit{Request: scheduler.Request{
		Prompt: beginnings(l.T)[0][:20], MaxTokens: tokens, Sampling: batch.Greedy(), LogProbs: 2, PromptLogProbs: -1,
	}}}
	l.send(r, name)
	return r
}

// TestWhatIsKilledLeavesOthersAlone: a stream, an adapter on its way and a job are
// killed at any moment, in the middle of a step or of a backward pass; the other
// streams say what they say alone, and nothing stays behind.
func TestWhatIsKilledLeavesOthersAlone(t *testing.T) {
	l := newLife(t, 1, 5, 40)
	want := map[string]told{}
	for _, name := range undisturbed {
		want[name] = listen(l.on(name, killedTokens).stream)
	}
	alike := 2
	if os.Getenv("LOQUETIER_LONG") != "" {
		alike = 20
	}
	// Some buffers are made when a step first needs them, which may be in any round. What a kill leaves
	// behind makes more of them in every round.
	const mostNew = 8
	last, same := -1, 0
	for range mostNew + alike {
		l.kill(want)
		now := l.emptied()
		if same++; now != last {
			last, same = now, 0
		}
		if same == alike {
			return
		}
	}
	require.Fail(t, "the number of buffers grows", "%d in the end", last)
}

const killedTokens = 60

// undisturbed are the adapters of the streams that nobody kills.
var undisturbed = []string{"upper", "", "live"}

// kill has streams run and kills what runs beside them.
func (l *life) kill(want map[string]told) {
	job := &drill{slot: l.trainee.Slot()}
	require.NoError(l, l.loop.Train(job))
	var others []*lived
	for _, name := range undisturbed {
		others = append(others, l.on(name, killedTokens))
	}
	pause := func() { time.Sleep(time.Duration(l.random.IntN(15)) * time.Millisecond) }
	stream, load := l.on("upper", killedTokens), l.on("random 1", 1)
	pause()
	load.cancel()
	pause()
	stream.cancel()
	require.Eventually(l, func() bool { return job.sequences.Load() > 1 }, time.Minute, time.Millisecond)
	job.killed.Store(true)
	if l.random.IntN(2) == 0 {
		require.NoError(l, l.loop.Do(func() { require.NoError(l, l.trainee.End()) }))
	} else {
		require.NoError(l, l.loader.End(l.trainee))
	}
	for _, r := range others {
		requireAlike(l.T, r.visit, want[r.claim.Name()], listen(r.stream))
	}
	listen(stream.stream)
	listen(load.stream)
	l.train()
	l.atRest()
}

// atRest waits until the loop has seen that all has ended.
func (l *life) atRest() {
	l.Helper()
	require.Eventually(l, func() bool {
		stats := l.loop.Stats()
		return stats.BlocksUsed+stats.Running+stats.Waiting == 0
	}, time.Minute, time.Millisecond)
}

// emptied is the number of buffers of the device once all adapters have left it. They are
// registered anew.
func (l *life) emptied() (buffers int) {
	names := l.names
	require.NoError(l, l.loop.Do(func() {
		require.NoError(l, l.trainee.End())
		for _, name := range names {
			require.NoError(l, l.base.Detach(name))
		}
		require.NoError(l, l.base.Sweep())
	}))
	require.Eventually(l, func() bool { // what was on its way is given up behind the next piece
		last := buffers
		require.NoError(l, l.loop.Do(func() { buffers = l.engine.Buffers() }))
		return buffers == last
	}, time.Minute, 50*time.Millisecond)
	l.names = nil
	l.populate()
	return buffers
}
