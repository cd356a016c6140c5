package engine_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
	"loquetier/virtualmod"
)

// recipes are the reference trainings of each tiny model.
var recipes = []string{"train-all-r8", "train-qv-r4-accum2"}

// recipe is a reference training: what goes in, and what PyTorch and PEFT make of it.
type recipe struct {
	dir       string
	Optimizer struct {
		LR          float64
		Betas       [2]float64
		Eps         float64
		WeightDecay float64 `json:"weight_decay"`
		Clip        float64
	}
	Accumulation int
	MicroBatches [][]struct {
		IDs          []int32
		PromptTokens int `json:"prompt_tokens"`
	} `json:"micro_batches"`
	Log []struct {
		Loss     float64
		GradNorm float64 `json:"grad_norm"`
		LR       float64
		Targets  int `json:"target_tokens"`
	}
	GreedyAfter struct {
		Prompt, Tokens []int32
		MinGap         float64 `json:"min_gap"`
	} `json:"greedy_after"`
}

func readRecipe(t *testing.T, model, name string) recipe {
	r := recipe{dir: filepath.Join(tiny, model, name)}
	data, err := os.ReadFile(filepath.Join(r.dir, "expected.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &r))
	return r
}

// job is a reference training under way.
type job struct {
	recipe
	bench   *bench
	trainee *virtualmod.Trainee
	step    int
}

// read reads an adapter for the model.
func (b *bench) read(dir string) *virtualmod.Adapter {
	b.t.Helper()
	folder, err := weights.OpenDir(dir)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { folder.Close() })
	a, err := virtualmod.ReadPEFT(folder, b.engine.Model())
	require.NoError(b.t, err)
	return a
}

func (b *bench) train(r recipe) *job {
	b.t.Helper()
	trainee, err := b.base.Train(b.read(filepath.Join(r.dir, "init")))
	require.NoError(b.t, err)
	return &job{recipe: r, bench: b, trainee: trainee}
}

// spans are the sequences of one micro-batch of the current step.
func (j *job) spans(accumulated int) []batch.Span {
	var out []batch.Span
	for _, s := range j.MicroBatches[(j.step*j.Accumulation+accumulated)%len(j.MicroBatches)] {
		span := batch.Span{Kind: batch.Train, Slot: j.trainee.Slot(), Tokens: s.IDs, Blocks: j.bench.blocks(len(s.IDs))}
		for i := max(s.PromptTokens, 1); i < len(s.IDs); i++ {
			span.Wants = append(span.Wants, batch.Want{Row: i - 1, Target: s.IDs[i]})
		}
		out = append(out, span)
	}
	return out
}

// all are the sequences of all micro-batches of the current step.
func (j *job) all() []batch.Span {
	var out []batch.Span
	for a := range j.Accumulation {
		out = append(out, j.spans(a)...)
	}
	return out
}

func (j *job) update() batch.Update {
	o, log := j.Optimizer, j.Log[j.step]
	return batch.Update{
		Slot: j.trainee.Slot(), Targets: log.Targets, Step: j.step + 1, LR: log.LR, Beta1: o.Betas[0], Beta2: o.Betas[1],
		Eps: o.Eps, WeightDecay: o.WeightDecay, Clip: o.Clip,
	}
}

// outcome is a step's loss and gradient norm.
type outcome struct{ loss, norm float64 }

// lossOf is the mean over the targets of a step.
func (j *job) lossOf(picks [][]batch.Pick) float64 {
	sum := 0.0
	for _, span := range picks {
		for _, p := range span {
			sum -= float64(p.LogProb)
		}
	}
	return sum / float64(j.Log[j.step].Targets)
}

// requireOutcome compares a step with the reference.
func (j *job) requireOutcome(o outcome, tolerance float64) {
	t, want := j.bench.t, j.Log[j.step]
	t.Helper()
	if j.step == 0 {
		tolerance /= 100
	}
	require.InEpsilon(t, want.Loss, o.loss, tolerance, "%s: loss of step %d", j.dir, j.step)
	require.InEpsilon(t, want.GradNorm, o.norm, max(tolerance, 1e-3), "%s: gradient norm of step %d", j.dir, j.step)
}

// step runs steps of jobs together, with other rows behind them, and returns
// the others' picks.
func (b *bench) trainStep(jobs []*job, others ...batch.Span) ([]outcome, [][]batch.Pick) {
	b.t.Helper()
	step := batch.Step{Backward: batch.All}
	var ends []int
	for _, j := range jobs {
		step.Spans = append(step.Spans, j.all()...)
		step.Updates = append(step.Updates, j.update())
		ends = append(ends, len(step.Spans))
	}
	step.Spans = append(step.Spans, others...)
	result, err := b.engine.Run(&step)
	require.NoError(b.t, err)
	from := 0
	out := make([]outcome, len(jobs))
	for i, j := range jobs {
		out[i] = outcome{j.lossOf(result.Picks[from:ends[i]]), result.Norms[i]}
		from = ends[i]
	}
	b.next = 0 // the sequences' cache blocks are free again
	return out, result.Picks[from:]
}

// tensors reads a reference's safetensors.
func tensors(t *testing.T, dir, file string) map[string][]float32 {
	folder, err := weights.OpenDir(dir)
	require.NoError(t, err)
	t.Cleanup(func() { folder.Close() })
	list, err := weights.ReadTensors(folder, file)
	require.NoError(t, err)
	out := map[string][]float32{}
	for _, tensor := range list {
		out[tensor.Name] = tensor.Float32s()
	}
	return out
}

// deviation is the norm of the difference over the norm of want.
func deviation(got, want []float32, scale float64) float64 {
	var diff, norm float64
	for i, w := range want {
		diff += math.Pow(float64(got[i])*scale-float64(w), 2)
		norm += math.Pow(float64(w), 2)
	}
	if norm == 0 {
		return math.Sqrt(diff)
	}
	return math.Sqrt(diff / norm)
}

// requireTensors compares modules, scaled, with a reference's tensors.
func requireTensors(t *testing.T, modules []engine.AdapterModule, want map[string][]float32, scale, tolerance float64) {
	t.Helper()
	require.Len(t, want, 2*len(modules))
	for _, m := range modules {
		name := fmt.Sprintf("base_model.model.model.layers.%d.%s.lora_", m.Layer, m.Module.Path())
		for part, tensor := range map[string]weights.Tensor{"A": m.A, "B": m.B} {
			reference, ok := want[name+part+".weight"]
			require.True(t, ok, name+part)
			require.Less(t, deviation(tensor.Float32s(), reference, scale), tolerance, name+part)
		}
	}
}

func trainConfig() engine.Config {
	return engine.Config{DType: "f32", MaxRows: 1024, TrainRows: 512}
}

// Step 0's gradient of every tensor, before clipping.
func TestFirstGradients(t *testing.T) {
	for _, model := range tinyModels {
		for _, name := range recipes {
			for _, family := range []string{"software", "gpu"} {
				t.Run(strings.Join([]string{model, name, family}, "/"), func(t *testing.T) {
					config := trainConfig()
					config.Family = family
					b := openTiny(t, model, config)
					j := b.train(readRecipe(t, model, name))
					b.run(j.all()...)
					gradients, err := b.engine.Gradients(j.trainee.Slot())
					require.NoError(t, err)
					requireTensors(t, gradients, tensors(t, j.dir, "grads_step0.safetensors"), 1/float64(j.Log[0].Targets), 1e-3)
				})
			}
		}
	}
}

// Every step of every recipe, the adapter it ends with, and what that adapter says.
func TestTrainingEqualsReference(t *testing.T) {
	for _, model := range tinyModels {
		for _, name := range recipes {
			t.Run(model+"/"+name, func(t *testing.T) {
				b := openTiny(t, model, trainConfig())
				j := b.train(readRecipe(t, model, name))
				b.follow(j)
			})
		}
	}
}

// Both jobs of a model at once, in shared steps: the same numbers.
func TestJobsShareSteps(t *testing.T) {
	for _, model := range tinyModels {
		t.Run(model, func(t *testing.T) {
			b := openTiny(t, model, trainConfig())
			b.follow(b.train(readRecipe(t, model, recipes[0])), b.train(readRecipe(t, model, recipes[1])))
		})
	}
}

// follow runs jobs to their end and compares every step with the reference.
func (b *bench) follow(jobs ...*job) {
	b.t.Helper()
	for range jobs[0].Log {
		outcomes, _ := b.trainStep(jobs)
		for i, j := range jobs {
			j.requireOutcome(outcomes[i], 1e-3)
			j.step++
		}
	}
	for _, j := range jobs {
		trained, err := b.engine.Trained(j.trainee.Slot())
		require.NoError(b.t, err)
		requireTensors(b.t, trained, tensors(b.t, filepath.Join(j.dir, "final"), "adapter_model.safetensors"), 1, 1e-2)
		require.Greater(b.t, j.GreedyAfter.MinGap, 1e-3)
		require.Equal(b.t, j.GreedyAfter.Tokens, b.greedyOn(j.trainee.Slot(), j.GreedyAfter.Prompt, len(j.GreedyAfter.Tokens)))
	}
}

// greedyOn continues a prompt with a slot's adapter.
func (b *bench) greedyOn(slot int, prompt []int32, n int) []int32 {
	b.t.Helper()
	blocks := b.blocks(len(prompt) + n)
	span := batch.Span{Kind: batch.Prefill, Slot: slot, Tokens: prompt, Blocks: blocks}
	var out []int32
	for len(out) < n {
		span.Wants = []batch.Want{{Row: len(span.Tokens) - 1, Target: -1, Sampling: batch.Greedy()}}
		token := b.run(span)[0][0].Token
		out = append(out, token)
		span = batch.Span{Kind: batch.Decode, Slot: slot, Position: len(prompt) + len(out) - 1, Tokens: []int32{token}, Blocks: blocks}
	}
	b.next = 0
	return out
}
