package engine_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/shaders"
	"loquetier/virtualmod"
)

// serving are rows of other kinds: prompts of the base and of adapters, one of
// them scored as an evaluation, and a single token, which goes to another kernel.
func (b *bench) serving() []batch.Span {
	evaluated := b.prompt("qv-r8", 2)
	evaluated.Kind = batch.Eval
	single := b.prompt("pattern", 0)
	return []batch.Span{evaluated, b.prompt("base", 3), b.prompt("all-r16", 1), single, b.prompt("dora-r8", 1)}
}

// mostRows is the training rows of the largest step of some recipes at once.
func mostRows(list []recipe) int {
	most := 0
	for step := range list[0].Log {
		rows := 0
		for _, r := range list {
			for a := range r.Accumulation {
				for _, s := range r.MicroBatches[(step*r.Accumulation+a)%len(r.MicroBatches)] {
					rows += len(s.IDs)
				}
			}
		}
		most = max(most, rows)
	}
	return most
}

// Serving rows in every training step change neither side, also where there is
// no room to spare for training rows, so that those that serve lie behind them, and where
// the products of the two are computed apart.
func TestServingBesideTraining(t *testing.T) {
	apart, err := shaders.TuningNamed("gpu")
	require.NoError(t, err)
	apart.MatrixRows = 4
	for i, model := range tinyModels {
		t.Run(model, func(t *testing.T) {
			both := []recipe{readRecipe(t, model, recipes[0]), readRecipe(t, model, recipes[1])}
			roomy := trainConfig()
			if i%2 == 1 {
				roomy.Tuning = &apart
			}
			tight := roomy
			tight.TrainRows = mostRows(both)
			alone, mixed := openTiny(t, model, roomy), openTiny(t, model, tight)
			require.Equal(t, 2, mixed.engine.KeptLayers())
			want := alone.runMix([]one{{"qv-r8", 2}, {"base", 3}, {"all-r16", 1}, {"pattern", 0}, {"dora-r8", 1}})
			var a, m []*job
			for _, r := range both {
				a, m = append(a, alone.train(r)), append(m, mixed.train(r))
			}
			for range a[0].Log {
				expected, _ := alone.trainStep(a)
				outcomes, picks := mixed.trainStep(m, mixed.serving()...)
				for i := range a {
					require.InEpsilon(t, expected[i].loss, outcomes[i].loss, 1e-5, "loss of step %d", a[i].step)
					require.InEpsilon(t, expected[i].norm, outcomes[i].norm, 1e-5, "gradient norm of step %d", a[i].step)
					a[i].step++
					m[i].step++
				}
				for i := range picks {
					require.LessOrEqual(t, distance(logitsOf(picks[i]), want[i]), 1e-5, "serving rows %d", i)
				}
			}
		})
	}
}

// gradientOf is the gradient of spans that are run step by step.
func (b *bench) gradientOf(j *job, steps ...[]batch.Span) [][]float32 {
	b.t.Helper()
	state, err := b.engine.TrainingState(j.trainee.Slot())
	require.NoError(b.t, err)
	for _, spans := range steps {
		b.run(spans...)
	}
	modules, err := b.engine.Gradients(j.trainee.Slot())
	require.NoError(b.t, err)
	require.NoError(b.t, b.engine.RestoreTraining(j.trainee.Slot(), state.Data))
	var out [][]float32
	for _, m := range modules {
		out = append(out, m.A.Float32s(), m.B.Float32s())
	}
	return out
}

func requireSameGradient(t *testing.T, want, got [][]float32, tolerance float64, what string) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.LessOrEqual(t, deviation(got[i], want[i], 1), tolerance, "%s: tensor %d", what, i)
	}
}

// warm is a job after some steps, when A has gradients too.
func (b *bench) warm(name string) *job {
	j := b.train(readRecipe(b.t, "qwen3", name))
	for range 3 {
		b.trainStep([]*job{j})
		j.step++
	}
	return j
}

// Micro-batches in steps of their own add up to one batch of all their rows,
// and the order in which sequences are packed changes nothing but rounding.
func TestGradientsAddUp(t *testing.T) {
	b := openTiny(t, "qwen3", trainConfig())
	j := b.warm("train-qv-r4-accum2")
	whole := b.gradientOf(j, j.all())
	requireSameGradient(t, whole, b.gradientOf(j, j.spans(0), j.spans(1)), 1e-5, "micro-batches")
	reversed := j.all()
	slices.Reverse(reversed)
	requireSameGradient(t, whole, b.gradientOf(j, reversed), 1e-5, "reversed")
	var single [][]batch.Span
	for _, s := range j.all() {
		single = append(single, []batch.Span{s})
	}
	requireSameGradient(t, whole, b.gradientOf(j, single...), 1e-5, "sequence by sequence")
}

// The same step gives the same bits.
func TestGradientsAreDeterministic(t *testing.T) {
	for _, family := range []string{"software", "gpu"} {
		config := trainConfig()
		config.Family = family
		b := openTiny(t, "qwen3", config)
		j := b.warm("train-all-r8")
		first := b.gradientOf(j, j.all())
		for range 3 {
			require.Equal(t, first, b.gradientOf(j, j.all()), "another gradient: a race")
		}
	}
}

// Activations that are computed again give the gradients that kept ones give.
func TestRecompute(t *testing.T) {
	for _, model := range tinyModels {
		var gradients [2][][]float32
		for i, recompute := range []engine.Recompute{engine.RecomputeNever, engine.RecomputeAlways} {
			config := trainConfig()
			config.Recompute = recompute
			b := openTiny(t, model, config)
			require.Equal(t, []int{2, 0}[i], b.engine.KeptLayers())
			j := b.train(readRecipe(t, model, "train-all-r8"))
			b.trainStep([]*job{j})
			gradients[i] = b.gradientOf(j, j.all(), j.all())
		}
		requireSameGradient(t, gradients[0], gradients[1], 1e-6, model)
	}
}

// A training state that is put back goes on as if nothing had happened, in
// another engine too, and in the middle of an accumulation.
func TestTrainingStateMoves(t *testing.T) {
	for _, dtype := range []string{"f32", "f16"} {
		config := trainConfig()
		config.DType = dtype
		a, b := openTiny(t, "qwen2", config), openTiny(t, "qwen2", config)
		first, second := a.train(readRecipe(t, "qwen2", recipes[1])), b.train(readRecipe(t, "qwen2", recipes[1]))
		for range 2 {
			a.trainStep([]*job{first})
			first.step++
		}
		a.run(first.spans(0)...)
		state := stateOf(t, first.trainee)
		require.NoError(t, second.trainee.Restore(state))
		second.step = first.step
		for range 4 {
			want, _ := a.trainStep([]*job{first})
			got, _ := b.trainStep([]*job{second})
			require.Equal(t, want, got, "step %d", first.step)
			first.step++
			second.step++
		}
		require.Error(t, second.trainee.Restore(state[:len(state)-4]))
	}
}

func stateOf(t *testing.T, trainee *virtualmod.Trainee) []byte {
	t.Helper()
	read, err := trainee.Snapshot()
	require.NoError(t, err)
	_, state, err := read()
	require.NoError(t, err)
	return state
}

// A gradient that is not finite leaves everything as it was, and is told.
func TestNonFiniteUpdateIsLeftOut(t *testing.T) {
	b := openTiny(t, "llama", trainConfig())
	j, other := b.train(readRecipe(t, "llama", recipes[0])), b.train(readRecipe(t, "llama", recipes[1]))
	b.trainStep([]*job{j, other})
	good := stateOf(t, j.trainee)
	bad := slices.Clone(good)
	gradient := len(bad) / 4
	for i := range 4 {
		bad[gradient+i] = 0xff // a NaN
	}
	require.NoError(t, j.trainee.Restore(bad))
	outcomes, _ := b.trainStep([]*job{j, other})
	require.True(t, math.IsNaN(outcomes[0].norm) || math.IsInf(outcomes[0].norm, 0))
	require.False(t, math.IsNaN(outcomes[1].norm))
	after := stateOf(t, j.trainee)
	require.Equal(t, good, after, "weights and moments stay, the gradient is cleared")
}

// What is served under a name changes only by publishing.
func TestPublish(t *testing.T) {
	b := openTiny(t, "llama", trainConfig())
	j := b.train(readRecipe(t, "llama", recipes[0]))
	b.trainStep([]*job{j})
	require.NoError(t, j.trainee.Publish("tuned"))
	ask := func() [][]float32 { b.next = 0; return logitsOf(b.run(b.prompt("tuned", 2))[0]) }
	published := ask()
	span := b.prompt("base", 2)
	span.Slot = j.trainee.Slot()
	require.Equal(t, logitsOf(b.run(span)[0]), published, "published weights are those of the moment")
	saved, err := j.trainee.Adapter()
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, saved.Write(dir))
	b.attach("saved", dir)
	require.Equal(t, published, logitsOf(b.run(b.prompt("saved", 2))[0]), "saved and loaded, it says the same")
	b.trainStep([]*job{j})
	require.Equal(t, published, ask(), "training went on beside it")
	require.NoError(t, j.trainee.Publish("tuned"))
	next := ask()
	require.NotEqual(t, published, next)
	require.Equal(t, logitsOf(b.run(span)[0]), next, "the next version")
	require.NoError(t, j.trainee.End())
	require.Equal(t, next, ask(), "the job has ended")
}

// The narrow types stay near the float32 losses.
func TestNarrowTraining(t *testing.T) {
	for _, dtype := range []string{"f16", "bf16"} {
		t.Run(dtype, func(t *testing.T) {
			config := trainConfig()
			config.DType = dtype
			for _, model := range tinyModels {
				b := openTiny(t, model, config)
				j := b.train(readRecipe(t, model, recipes[0]))
				for range j.Log {
					outcomes, _ := b.trainStep([]*job{j})
					require.InEpsilon(t, j.Log[j.step].Loss, outcomes[0].loss, 3e-2, "%s: loss of step %d", model, j.step)
					j.step++
				}
			}
		})
	}
}

// Steps that do not make sense are refused before anything runs.
func TestTrainingStepsAreChecked(t *testing.T) {
	b := openTiny(t, "llama", trainConfig())
	j := b.train(readRecipe(t, "llama", recipes[0]))
	served := b.prompt("base", 1)
	short := j.all()[:1]
	short[0].Tokens, short[0].Wants = short[0].Tokens[:1], nil
	choose := j.all()[:1]
	choose[0].Wants = []batch.Want{{Target: -1, Sampling: batch.Greedy()}}
	elsewhere := j.all()[:1]
	elsewhere[0].Slot = b.slot("qv-r8")
	nan := j.update()
	nan.LR = math.NaN()
	for want, step := range map[string]batch.Step{
		"at least two tokens":  {Spans: short},
		"only scores a target": {Spans: choose},
		"nothing is trained":   {Spans: elsewhere},
		"come first":           {Spans: append([]batch.Span{served}, j.all()...)},
		"learning rate NaN":    {Updates: []batch.Update{nan}},
		"two updates":          {Updates: []batch.Update{j.update(), j.update()}},
		"training rows":        {Spans: slices.Repeat(j.all(), 8)},
	} {
		_, err := b.engine.Run(&step)
		require.ErrorContains(t, err, want)
	}
	for want, span := range map[string]batch.Span{
		"at least two tokens": short[0], "only scores a target": choose[0], "nothing is trained": elsewhere[0],
	} {
		require.ErrorContains(t, b.engine.Check(&span), want, "alone, before it joins a step")
	}
}

func TestDoRATrainingIsRefused(t *testing.T) {
	b := openTiny(t, "llama", trainConfig())
	r := recipe{dir: tiny + "/llama/adapters/dora-r8"}
	_, err := b.base.Train(b.read(r.dir))
	require.ErrorIs(t, err, engine.ErrDoRA)
}

// A step that is cut into many submissions gives the bits of one.
func TestManySubmissions(t *testing.T) {
	var outcomes [2][]outcome
	var logits [2][][]float32
	for i, most := range []float64{0, 1} {
		config := trainConfig()
		config.Submission, config.Recompute = most, engine.RecomputeAlways
		b := openTiny(t, "qwen3", config)
		j := b.train(readRecipe(t, "qwen3", recipes[0]))
		for range 2 {
			o, picks := b.trainStep([]*job{j}, b.serving()...)
			outcomes[i], logits[i] = append(outcomes[i], o...), append(logits[i], logitsOf(picks[1])...)
		}
		dispatches, barriers := b.engine.Stats().Dispatches, b.engine.Stats().Barriers
		require.Greater(t, dispatches, 50)
		require.Greater(t, barriers, 20)
	}
	require.Equal(t, outcomes[0], outcomes[1])
	require.Equal(t, logits[0], logits[1])
}
