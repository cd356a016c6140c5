package engine_test

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
	"loquetier/virtualmod"
)

// noisy is an adapter of random numbers on some layers of a model, of rank 5.
func noisy(e *engine.Engine, layers ...int) engine.Adapter {
	r := rand.New(rand.NewPCG(9, 0))
	tensor := func(rows, columns int) weights.Tensor {
		t := weights.Tensor{DType: weights.F32, Shape: []int{rows, columns}}
		for range rows * columns {
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(float32(r.NormFloat64()/math.Sqrt(float64(columns))/2)))
		}
		return t
	}
	var a engine.Adapter
	for _, layer := range layers {
		for m := range engine.Module(engine.Modules) {
			out, in := m.Dims(e.Model())
			a.Modules = append(a.Modules, engine.AdapterModule{Layer: layer, Module: m, Rank: 5, Scale: 0.7, A: tensor(5, in), B: tensor(out, 5)})
		}
	}
	return a
}

// sequences are random training spans of a slot.
func (b *bench) sequences(slot int, lengths ...int) []batch.Span {
	r := rand.New(rand.NewPCG(7, 0))
	var spans []batch.Span
	for _, n := range lengths {
		s := batch.Span{Kind: batch.Train, Slot: slot, Blocks: b.blocks(n)}
		for i := range n {
			s.Tokens = append(s.Tokens, r.Int32N(int32(b.engine.Model().VocabSize)))
			if i > 0 && i%3 != 0 {
				s.Wants = append(s.Wants, batch.Want{Row: i - 1, Target: s.Tokens[i]})
			}
		}
		spans = append(spans, s)
	}
	b.next = 0
	return spans
}

// lossOf is the sum over targets with a training state's weights.
func (b *bench) lossOf(slot int, state []byte, spans []batch.Span) float64 {
	require.NoError(b.t, b.engine.RestoreTraining(slot, state))
	sum := 0.0
	for _, span := range b.run(spans...) {
		for _, p := range span {
			sum -= float64(p.LogProb)
		}
	}
	return sum
}

// moved is a training state with its weights a step along its gradient, whose
// length is norm.
func moved(state []byte, step, norm float64) []byte {
	out, n := append([]byte(nil), state...), len(state)/4
	for i := 0; i < n; i += 4 {
		w := math.Float32frombits(binary.LittleEndian.Uint32(state[i:]))
		g := math.Float32frombits(binary.LittleEndian.Uint32(state[n+i:]))
		binary.LittleEndian.PutUint32(out[i:], math.Float32bits(float32(float64(w)+step*float64(g)/norm)))
	}
	return out
}

// The loss rises along the gradient as steeply as the gradient is long: through
// a sliding window, and where an adapter leaves layers alone.
func TestGradientIsTheLossesSlope(t *testing.T) {
	device, err := engine.OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, device.Close()) })
	for name, c := range map[string]struct {
		dir    string
		layers []int
	}{
		"sliding window":   {"../testdata/window/model", []int{0, 1}},
		"upper layer only": {tiny + "/qwen3/model", []int{1}},
		"lower layer only": {tiny + "/qwen2/model", []int{0}},
	} {
		for _, recompute := range []engine.Recompute{engine.RecomputeAlways, engine.RecomputeNever} {
			b := &bench{t: t, engine: loadModel(t, device, c.dir, engine.Config{DType: "f32", TrainRows: 256, Recompute: recompute})}
			b.base = virtualmod.NewBase(b.engine)
			require.NoError(t, b.engine.AttachTraining(3, noisy(b.engine, c.layers...)))
			spans := b.sequences(3, 50, 2, 33)
			b.run(spans...)
			training, err := b.engine.TrainingState(3)
			require.NoError(t, err)
			state := training.Data
			norm := 0.0
			for n, i := len(state)/4, 0; i < n; i += 4 {
				norm += math.Pow(float64(math.Float32frombits(binary.LittleEndian.Uint32(state[n+i:]))), 2)
			}
			norm = math.Sqrt(norm)
			const step = 2e-3
			slope := (b.lossOf(3, moved(state, step, norm), spans) - b.lossOf(3, moved(state, -step, norm), spans)) / (2 * step)
			require.InEpsilon(t, norm, slope, 3e-3, "%s, recompute %d", name, recompute)
		}
	}
}
