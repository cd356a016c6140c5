package virtualmod

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
)

// bench is a tiny model with few slots.
type bench struct {
	testing.TB
	*Base
}

func openBench(t testing.TB, dtype string, slots int) *bench {
	t.Helper()
	return openWith(t, engine.Config{DType: dtype, Context: 32, CacheBlocks: 4, MaxRows: 32, TrainRows: 16, Slots: slots})
}

func openWith(t testing.TB, config engine.Config) *bench {
	t.Helper()
	device, err := engine.OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, device.Close()) })
	folder, err := weights.OpenDir(golden + "/llama/model")
	require.NoError(t, err)
	checkpoint, err := weights.Open(folder)
	require.NoError(t, err)
	e, err := engine.New(t.Context(), device, checkpoint, config)
	require.NoError(t, err)
	require.NoError(t, checkpoint.Close())
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return &bench{t, NewBase(e)}
}

// attachGolden attaches one of PEFT's adapters.
func (b *bench) attachGolden(name, variant string) {
	b.attachDir(name, golden+"/llama/adapters/"+variant)
}

func (b *bench) attachDir(name, dir string) {
	b.Helper()
	folder, err := weights.OpenDir(dir)
	require.NoError(b, err)
	require.NoError(b, b.Attach(name, folder))
	require.NoError(b, folder.Close())
}

// random is an adapter that changes much, another one for each seed.
func (b *bench) random(seed uint64) *Adapter {
	a, err := NewAdapter(Spec{Rank: 1 + int(seed%7), Alpha: 4, Targets: everyKind()}, b.engine.Model(), seed)
	require.NoError(b, err)
	for i, m := range a.Modules {
		fillUniform(m.B.Data, 0.3, rand.New(rand.NewPCG(seed, uint64(i))))
	}
	return a
}

// attachRandom writes a random adapter to a folder and attaches it.
func (b *bench) attachRandom(name string, seed uint64) {
	b.Helper()
	dir := b.TempDir()
	require.NoError(b, b.random(seed).Write(dir))
	b.attachDir(name, dir)
}

func (b *bench) acquire(name string) *Lease {
	b.Helper()
	l, err := b.Acquire(name)
	require.NoError(b, err)
	return l
}

// logits are what a slot makes of a prompt: bits, to be compared exactly.
func (b *bench) logits(l *Lease) []float32 {
	b.Helper()
	span := batch.Span{
		Kind: batch.Prefill, Slot: l.Slot(), Tokens: []int32{5, 17, 3, 60, 9}, Blocks: []int32{1},
		Wants: []batch.Want{{Row: 4, Target: -1, Logits: true, Sampling: batch.Greedy()}},
	}
	result, err := b.engine.Run(&batch.Step{Spans: []batch.Span{span}})
	require.NoError(b, err)
	return result.Picks[0][0].Logits
}

// of are the logits of a name's current version.
func (b *bench) of(name string) []float32 {
	b.Helper()
	l := b.acquire(name)
	defer l.Release()
	return b.logits(l)
}

func (b *bench) state(name string) State {
	b.Helper()
	s, err := b.State(name)
	require.NoError(b, err)
	return s
}

// train begins a job.
func (b *bench) train(seed uint64) *Trainee {
	b.Helper()
	t, err := b.Train(b.random(seed))
	require.NoError(b, err)
	return t
}

// learn stands for a job's updates: it changes all weights.
func (b *bench) learn(t *Trainee, by float32) { b.learnFrom(b.snapshot, t, by) }

// learnFrom is learn by some way to take a snapshot.
func (b *bench) learnFrom(snapshot func(*Trainee) (*Adapter, []byte), t *Trainee, by float32) {
	b.Helper()
	_, state := snapshot(t)
	scaled(state, by)
	require.NoError(b, t.Restore(state))
}

// snapshot is what a job's updates depend on, and its adapter.
func (b *bench) snapshot(t *Trainee) (*Adapter, []byte) {
	b.Helper()
	return b.snapshotIn(func(f func()) error { f(); return nil }, t)
}

// snapshotIn is snapshot where do runs what is the engine's.
func (b *bench) snapshotIn(do func(func()) error, t *Trainee) (*Adapter, []byte) {
	b.Helper()
	var read func() (*Adapter, []byte, error)
	var err error
	require.NoError(b, do(func() { read, err = t.Snapshot() }))
	require.NoError(b, err)
	a, state, err := read()
	require.NoError(b, err)
	return a, state
}

// scaled multiplies the weights of a training state.
func scaled(state []byte, by float32) {
	for weights := state[:len(state)/4]; len(weights) > 0; weights = weights[4:] {
		w := math.Float32frombits(binary.LittleEndian.Uint32(weights))
		binary.LittleEndian.PutUint32(weights, math.Float32bits(w*by))
	}
}
