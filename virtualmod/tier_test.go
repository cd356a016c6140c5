package virtualmod

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"loquetier/engine"
)

func TestTheLeastRecentlyAcquiredIsPutOut(t *testing.T) {
	b := openBench(t, "f32", 3)
	for i, name := range []string{"a", "b", "c", "d"} {
		b.attachRandom(name, uint64(i))
	}
	resident := func() (names []string) {
		for _, name := range b.Names() {
			if b.state(name).Resident {
				names = append(names, name)
			}
		}
		return names
	}
	for _, name := range []string{"a", "b", "c", "a"} {
		b.acquire(name).Release()
	}
	require.NoError(t, b.Prefetch("d"))
	assert.Equal(t, []string{"a", "c", "d"}, resident())
	held := b.acquire("c")
	require.NoError(t, b.Prefetch("b"))
	assert.Equal(t, []string{"b", "c", "d"}, resident())
	require.NoError(t, b.Prefetch("a"))
	assert.Equal(t, []string{"a", "b", "c"}, resident(), "c has a lease")

	job := b.train(9)
	assert.Equal(t, []string{"a", "c"}, resident(), "a job takes a slot")
	other := b.acquire("a")
	_, err := b.Acquire("b")
	require.EqualError(t, err, "load adapter b: no free slot: of 3 slots requests use 2 and training 1")
	require.ErrorIs(t, err, ErrNoFreeSlot)
	_, err = b.Train(b.random(8))
	require.ErrorIs(t, err, ErrNoFreeSlot)
	require.NoError(t, job.Publish("e"), "published without a slot")
	assert.Equal(t, []string{"a", "c"}, resident())
	held.Release()
	other.Release()
	b.acquire("e").Release()
	assert.Equal(t, []string{"a", "e"}, resident())
	require.NoError(t, job.End())
	b.acquire("b").Release()
	assert.Equal(t, []string{"a", "b", "e"}, resident())
}

// What was published has the same bits wherever it has been meanwhile.
func TestPublishedPutOutAndLoadedAgain(t *testing.T) {
	for _, dtype := range []string{"f32", "f16", "bf16"} {
		b := openBench(t, dtype, 2)
		job := b.train(5)
		b.learn(job, 1.1)
		require.NoError(t, job.Publish("a"))
		l := b.acquire("a")
		want := b.logits(l)
		require.NoError(t, job.Publish("direct"), "without a slot: to host memory at once")
		version, saved := l.Version(), b.saved(l.Slot())
		l.Release()
		b.attachRandom("b", 6)
		b.of("b")
		require.False(t, b.state("a").Resident)
		l = b.acquire("a")
		assert.Equal(t, want, b.logits(l), dtype)
		assert.Equal(t, version, l.Version(), dtype)
		assert.Equal(t, saved, b.saved(l.Slot()), dtype)
		l.Release()
		assert.Equal(t, want, b.of("direct"), dtype)
	}
}

func (b *bench) saved(slot int) *engine.Image {
	saved, err := b.engine.Save(slot)
	require.NoError(b, err)
	return saved
}

// unruly fails to load for want of memory until others have been put out.
type unruly struct {
	hostCopy
	base *bench
	most int // residents beside it
	err  error
}

func (u unruly) begin(e *engine.Engine, slot int) (*engine.Upload, error) {
	others := 0
	for _, v := range u.base.residents {
		if v != nil {
			others++
		}
	}
	if others > u.most {
		return nil, u.err
	}
	return u.hostCopy.begin(e, slot)
}

func TestAdaptersMakeRoomInMemory(t *testing.T) {
	b := openBench(t, "f32", 5)
	full := fmt.Errorf("allocate: %w", engine.ErrOutOfMemory)
	for i, name := range []string{"a", "b", "c"} {
		b.attachRandom(name, uint64(i))
		require.NoError(t, b.Prefetch(name))
	}
	held := b.acquire("a")
	defer held.Release()
	b.push("large", Info{}, unruly{b.random(7), b, 1, full})
	b.of("large")
	assert.Equal(t, []bool{true, false, false}, []bool{b.state("a").Resident, b.state("b").Resident, b.state("c").Resident})
	require.NoError(t, b.Prefetch("b"))
	b.push("larger", Info{}, unruly{b.random(8), b, 0, full})
	_, err := b.Acquire("larger")
	require.EqualError(t, err, "load adapter larger: allocate: out of device memory", "a is in use")
	require.NoError(t, b.Prefetch("b"))
	b.push("broken", Info{}, unruly{b.random(9), b, 0, fmt.Errorf("torn")})
	_, err = b.Acquire("broken")
	require.EqualError(t, err, "load adapter broken: torn")
	assert.True(t, b.state("b").Resident, "it was not for want of memory")
}

// Ten adapters in three slots, one of them now and then a job's: every lease
// answers with the weights of its version, and in the end nothing is left.
func TestTiersUnderRandomUse(t *testing.T) {
	b := openBench(t, "f32", 3)
	b.attachRandom("largest rank", 6) // the engine makes room for it once
	b.of("largest rank")
	require.NoError(t, b.Detach("largest rank"))
	var adapters [10]*Adapter
	for i := range adapters {
		adapters[i] = b.random(uint64(i))
	}
	start := b.engine.Used()
	rapid.Check(t, func(rt *rapid.T) {
		u := &use{b: b, rt: rt, start: start, answers: map[uint64][]float32{}, current: map[string][]uint64{}}
		defer u.end() // also where it fails, for the next try
		for i, a := range adapters {
			name := fmt.Sprint("adapter ", i)
			u.current[name] = []uint64{b.push(name, Info{}, a).id}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"acquire":  func(*rapid.T) { u.acquire(u.name()) },
			"again":    func(*rapid.T) { u.acquire(u.name()) },
			"release":  func(*rapid.T) { u.release() },
			"releases": func(*rapid.T) { u.release() },
			"prefetch": func(*rapid.T) { u.allowed(b.Prefetch(u.name())) },
			"train":    func(*rapid.T) { u.train() },
			"publish":  func(*rapid.T) { u.publish(u.name()) },
			"rollback": func(*rapid.T) { u.rollback(u.name()) },
			"":         func(*rapid.T) { u.check() },
		})
	})
}

// use is what the random test expects of a Base.
type use struct {
	b       *bench
	rt      *rapid.T
	start   uint64 // bytes on the device
	leases  []*Lease
	job     *Trainee
	jobs    uint64               // there were
	answers map[uint64][]float32 // by version, once it has answered
	current map[string][]uint64  // versions that can be current, the latest last
}

func (u *use) name() string {
	return rapid.SampledFrom(slices.Sorted(maps.Keys(u.current))).Draw(u.rt, "name")
}

// full tells whether leases and the job use every slot but that of a version.
func (u *use) full(version uint64) bool {
	used := map[uint64]bool{}
	for _, l := range u.leases {
		used[l.Version()] = true
	}
	if used[version] {
		return false
	}
	if u.job != nil {
		return len(used) >= 2
	}
	return len(used) >= 3
}

func (u *use) allowed(err error) {
	if err != nil {
		require.ErrorIs(u.rt, err, ErrNoFreeSlot)
	}
}

func (u *use) acquire(name string) {
	versions := u.current[name]
	want := versions[len(versions)-1]
	l, err := u.b.Acquire(name)
	if u.full(want) {
		require.ErrorIs(u.rt, err, ErrNoFreeSlot)
		return
	}
	require.NoError(u.rt, err)
	require.Equal(u.rt, want, l.Version())
	u.leases = append(u.leases, l)
}

func (u *use) release() {
	if len(u.leases) == 0 {
		return
	}
	i := rapid.IntRange(0, len(u.leases)-1).Draw(u.rt, "lease")
	u.leases[i].Release()
	u.leases = slices.Delete(u.leases, i, i+1)
}

func (u *use) train() {
	if u.job != nil {
		require.NoError(u.rt, u.job.End())
		u.job = nil
		return
	}
	job, err := u.b.Train(u.b.random(50 + u.jobs))
	require.Equal(u.rt, u.full(0), err != nil)
	if err == nil {
		u.job = job
		u.jobs++
	}
}

func (u *use) publish(name string) {
	if u.job == nil {
		return
	}
	u.b.learn(u.job, 1.01)
	require.NoError(u.rt, u.job.Publish(name))
	versions := append(u.current[name], u.b.state(name).Version)
	u.current[name] = versions[max(0, len(versions)-1-KeptVersions):]
}

func (u *use) rollback(name string) {
	last := len(u.current[name]) - 1
	err := u.b.Rollback(name)
	if last == 0 {
		require.ErrorIs(u.rt, err, ErrNoOlderVersion)
		return
	}
	require.NoError(u.rt, err)
	u.current[name] = u.current[name][:last]
}

// check runs what is leased: a version always answers as it did at first, and no
// two answer the same.
func (u *use) check() {
	done := map[uint64]bool{}
	for _, l := range u.leases {
		if done[l.Version()] {
			continue
		}
		done[l.Version()] = true
		got := u.b.logits(l)
		if want, ok := u.answers[l.Version()]; ok {
			require.Equal(u.rt, want, got, "version %d", l.Version())
			continue
		}
		for other, answer := range u.answers {
			require.NotEqual(u.rt, answer, got, "versions %d and %d", other, l.Version())
		}
		u.answers[l.Version()] = got
	}
}

func (u *use) end() {
	for _, l := range u.leases {
		l.Release()
	}
	if u.job != nil {
		require.NoError(u.rt, u.job.End())
	}
	for name := range u.current {
		require.NoError(u.rt, u.b.Detach(name))
	}
	require.NoError(u.rt, u.b.Sweep())
	require.Equal(u.rt, u.start, u.b.engine.Used())
}
