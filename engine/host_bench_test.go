package engine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// deepConfig is a model as deep as an 8B one, and as narrow as the kernels
// allow: its steps are all host work and launches.
const deepConfig = `{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "head_dim": 16,
"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "num_hidden_layers": 32, "vocab_size": 256,
"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false}`

// made is a model with random weights.
func made(t testing.TB, model string) *weights.Checkpoint {
	t.Helper()
	config := fstest.MapFS{"config.json": {Data: []byte(model)}}
	c, err := weights.ReadConfig(weights.OpenFS(config, "made"))
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	var tensors []weights.Tensor
	for _, spec := range c.Tensors() {
		tensors = append(tensors, randomTensor(random, spec.Name, spec.Shape...))
	}
	var file bytes.Buffer
	require.NoError(t, weights.WriteTensors(&file, tensors, nil))
	config["model.safetensors"] = &fstest.MapFile{Data: file.Bytes()}
	checkpoint, err := weights.Open(weights.OpenFS(config, "made"))
	require.NoError(t, err)
	return checkpoint
}

func openDevice(t testing.TB) *engine.Device {
	t.Helper()
	device, err := engine.OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, device.Close()) })
	return device
}

func openMade(t testing.TB, device *engine.Device, checkpoint *weights.Checkpoint, config engine.Config) *engine.Engine {
	t.Helper()
	e, err := engine.New(t.Context(), device, checkpoint, config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// openDeep makes the deep model, with random rank 16 adapters on all modules in
// the first slots.
func openDeep(t testing.TB, adapters int) *engine.Engine {
	t.Helper()
	e := openMade(t, openDevice(t), made(t, deepConfig), engine.Config{Slots: 64, CacheBlocks: 64 * 64})
	c, random := e.Model(), rand.New(rand.NewPCG(1, 3))
	for slot := range adapters {
		var a engine.Adapter
		for layer := range c.Layers {
			for m := range engine.Module(engine.Modules) {
				out, in := m.Dims(c)
				a.Modules = append(a.Modules, engine.AdapterModule{
					Layer: layer, Module: m, Rank: 16, Scale: 1, A: randomTensor(random, "A", 16, in), B: randomTensor(random, "B", out, 16),
				})
			}
		}
		require.NoError(t, e.Attach(slot, a))
	}
	return e
}

func randomTensor(random *rand.Rand, name string, shape ...int) weights.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(random.NormFloat64() * 0.1)
	}
	return weights.Tensor{Name: name, DType: weights.F32, Shape: shape, Data: vk.Bytes(values)}
}

// deepStep is a step of single rows at a position; with adapters each has its own.
func deepStep(rows, adapters, position int) *batch.Step {
	step := &batch.Step{Spans: make([]batch.Span, rows)}
	for i := range rows {
		slot := batch.Base
		if adapters > 0 {
			slot = i * adapters / rows
		}
		blocks := make([]int32, position/batch.BlockSize+1)
		for j := range blocks {
			blocks[j] = int32(i*64 + j)
		}
		step.Spans[i] = batch.Span{
			Kind: batch.Decode, Slot: slot, Tokens: []int32{int32(i)}, Position: position, Blocks: blocks,
			Wants: []batch.Want{{Target: -1, Sampling: batch.Greedy()}},
		}
	}
	return step
}

// BenchmarkHost is the host's share of a decode step of 32 layers: recorded
// anew or not, waited for at once or with the next step in flight.
func BenchmarkHost(b *testing.B) {
	e := openDeep(b, 64)
	for _, c := range []struct{ rows, adapters int }{{1, 0}, {1, 1}, {32, 0}, {32, 32}, {64, 64}} {
		var steps []*batch.Step
		for position := 128; position < 1024; position++ {
			steps = append(steps, deepStep(c.rows, c.adapters, position))
		}
		for _, mode := range []string{"recorded", "reused", "overlapped"} { // the last changes the steps' tokens
			b.Run(fmt.Sprintf("rows=%d/adapters=%d/%s", c.rows, c.adapters, mode), func(b *testing.B) { benchHost(b, e, steps, mode) })
		}
	}
}

func benchHost(b *testing.B, e *engine.Engine, steps []*batch.Step, mode string) {
	_, err := e.Run(steps[0]) // makes pipelines
	require.NoError(b, err)
	record := 0.0
	wait := func() {
		_, err := e.Wait()
		require.NoError(b, err)
		record += float64(e.Stats().Record.Nanoseconds()) / 1e3
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		step := steps[i%len(steps)]
		if mode == "recorded" {
			e.Forget()
		}
		if mode == "overlapped" && i > 0 {
			for j := range step.Spans {
				step.Spans[j].Tokens[0] = batch.Picked(j)
			}
		}
		require.NoError(b, e.Start(step))
		if mode != "overlapped" || i > 0 {
			wait()
		}
	}
	b.StopTimer()
	if mode == "overlapped" {
		wait()
	}
	b.ReportMetric(float64(e.Stats().Dispatches), "dispatches/op")
	b.ReportMetric(record/float64(b.N), "record-us/op")
}

// BenchmarkHostTrain is the host's share of a training step of 32 layers, in one
// piece or in slices of a layer.
func BenchmarkHostTrain(b *testing.B) {
	e := openMade(b, openDevice(b), made(b, deepConfig), engine.Config{TrainRows: 16, MaxRows: 16, CacheBlocks: 4, Recompute: engine.RecomputeNever})
	var layers []int
	for layer := range e.Slices() {
		layers = append(layers, layer)
	}
	require.NoError(b, e.AttachTraining(0, noisy(e, layers...)))
	span := batch.Span{Kind: batch.Train, Tokens: tokensOf(16, 1), Blocks: []int32{0}}
	span.Wants = []batch.Want{{Row: 0, Target: 1}}
	for _, slices := range []int{batch.All, 1} {
		b.Run(fmt.Sprintf("slices=%d", min(slices, e.Slices())), func(b *testing.B) {
			record := 0.0
			run := func(step *batch.Step) {
				_, err := e.Run(step)
				require.NoError(b, err)
				record += float64(e.Stats().Record.Nanoseconds()) / 1e3
			}
			for range b.N {
				run(&batch.Step{Spans: []batch.Span{span}, Backward: slices})
				for left := e.Slices() - slices; left > 0; left -= slices {
					run(&batch.Step{Backward: slices})
				}
			}
			b.ReportMetric(record/float64(b.N), "record-us/op")
		})
	}
}
