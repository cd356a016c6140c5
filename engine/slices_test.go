package engine_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
)

// course runs passes of two jobs, in slots 0 and 1, cut in all ways, between
// steps that serve others: a sequence that grows, on a DoRA adapter in slot 2, a prompt on
// one of another rank in slot 3, and a scored text.
type course struct {
	*bench
	overlap bool // each step is started while the one before runs
	flying  int
	picks   [][][]batch.Pick // by step
	norms   []float64
	chosen  int // the step that chose the growing sequence's last token, -1: none
	want    int // by this want
	length  int // of the growing sequence
}

// courseModel has four layers.
func courseModel(family string) string {
	return strings.NewReplacer(`"num_hidden_layers": 32`, `"num_hidden_layers": 4`,
		"Llama", family, `"llama"`, `"`+strings.ToLower(family)+`"`).Replace(deepConfig)
}

// openCourse makes an engine that keeps the activations of so many layers, and
// its course.
func openCourse(t *testing.T, family string, kept int, config engine.Config) *course {
	t.Helper()
	config.MaxRows, config.TrainRows, config.CacheBlocks, config.Slots, config.Recompute = 96, 64, 16, 8, engine.RecomputeAlways
	device, checkpoint := openDevice(t), made(t, courseModel(family))
	m, err := engine.Plan(device, checkpoint, config)
	require.NoError(t, err)
	config.Recompute, config.Reserve = engine.RecomputeAuto, int64(device.Info.FreeMemory)/10*9-m.Total()-m.KeptBeside-int64(kept)*m.KeptEach-m.KeptEach/2
	e := openMade(t, device, checkpoint, config)
	require.Equal(t, kept, e.KeptLayers())
	return courseOf(t, e)
}

// courseOf brings the adapters. The second job leaves the lowest layer alone.
func courseOf(t *testing.T, e *engine.Engine) *course {
	t.Helper()
	require.NoError(t, e.AttachTraining(0, noisy(e, 0, 1, 2, 3)))
	require.NoError(t, e.AttachTraining(1, noisy(e, 1, 3)))
	require.NoError(t, e.Attach(2, ranked(e, 8, true)))
	require.NoError(t, e.Attach(3, ranked(e, 12, false)))
	return &course{bench: &bench{t: t, engine: e}}
}

// ranked is an adapter of a layer's query and down projections.
func ranked(e *engine.Engine, rank int, dora bool) engine.Adapter {
	random := rand.New(rand.NewPCG(11, uint64(rank)))
	var a engine.Adapter
	for _, m := range []engine.Module{engine.QProj, engine.DownProj} {
		out, in := m.Dims(e.Model())
		module := engine.AdapterModule{Layer: 2, Module: m, Rank: rank, Scale: 2, A: randomTensor(random, "A", rank, in), B: randomTensor(random, "B", out, rank)}
		if dora {
			magnitude := randomTensor(random, "magnitude", out)
			module.Magnitude = &magnitude
		}
		a.Modules = append(a.Modules, module)
	}
	return a
}

// trained are the jobs' sequences.
func (c *course) trained() []batch.Span {
	spans := c.sequences(0, 17, 30, 9)
	spans[2].Slot = 1
	return spans
}

func tokensOf(n, from int) []int32 {
	tokens := make([]int32, n)
	for i := range tokens {
		tokens[i] = int32((from + 7*i) % 256)
	}
	return tokens
}

// grow is the growing sequence's next span. Its token may be one that the step
// in flight chooses.
func (c *course) grow() batch.Span {
	s := batch.Span{
		Kind: batch.Prefill, Slot: 2, Tokens: tokensOf(10, 1), Blocks: []int32{0, 1},
		Wants: []batch.Want{{Row: 9, Target: -1, TopN: 2, Sampling: batch.Greedy()}},
	}
	if c.length > 0 {
		s.Kind, s.Position, s.Tokens, s.Wants[0].Row = batch.Decode, c.length, []int32{batch.Picked(c.want)}, 0
		if known := len(c.picks); c.chosen < known {
			all := slices.Concat(c.picks[c.chosen]...)
			s.Tokens = []int32{all[c.want].Token}
		}
	}
	c.length += len(s.Tokens)
	return s
}

// serving are the spans beside the pass in a step of a course; in the fourth
// are none.
func (c *course) serving(step int) []batch.Span {
	text := batch.Span{Kind: batch.Eval, Slot: batch.Base, Tokens: tokensOf(12, 3), Blocks: []int32{4}}
	for i, token := range text.Tokens[1:] {
		text.Wants = append(text.Wants, batch.Want{Row: i, Target: token})
	}
	prompt := batch.Span{Kind: batch.Prefill, Slot: 3, Tokens: tokensOf(21, 5), Blocks: []int32{2, 3}}
	prompt.Wants = []batch.Want{{Row: 20, Target: -1, Logits: true, Sampling: batch.Greedy()}}
	switch step {
	case 1:
		return []batch.Span{text, c.grow()}
	case 2:
		return []batch.Span{prompt, c.grow()}
	case 3:
		return nil
	}
	return []batch.Span{c.grow()}
}

const courseSteps = 6

// pass runs a pass between the course's steps, cut[i] slices in step i, with
// updates in the step of the last slice.
func (c *course) pass(cut []int, updates ...batch.Update) {
	c.picks, c.norms, c.length = nil, nil, 0
	left, started := c.engine.Slices(), 0
	for i := range courseSteps {
		step := batch.Step{Spans: c.serving(i), Backward: cut[i]}
		if i == 0 {
			step.Spans = append(c.trained(), step.Spans...)
		}
		if left > 0 && left <= cut[i] {
			step.Updates = updates
		}
		if left -= cut[i]; len(step.Spans) == 0 && (cut[i] == 0 || left+cut[i] <= 0) {
			continue // of nothing
		}
		if n := len(step.Spans); n > 0 && step.Spans[n-1].Slot == 2 {
			c.chosen, c.want = started, 0
			for _, s := range step.Spans[:n-1] {
				c.want += len(s.Wants)
			}
		}
		started++
		c.begin(&step)
	}
	c.settle(0)
}

func (c *course) begin(step *batch.Step) {
	require.NoError(c.t, c.engine.Start(step))
	c.flying++
	if c.overlap {
		c.settle(1)
	} else {
		c.settle(0)
	}
}

// settle waits until no more than a number of steps are in flight.
func (c *course) settle(most int) {
	for c.flying > most {
		result, err := c.engine.Wait()
		require.NoError(c.t, err)
		c.flying--
		c.picks, c.norms = append(c.picks, result.Picks), append(c.norms, result.Norms...)
	}
}

// left is what a course leaves.
type left struct {
	picks  []batch.Pick
	norms  []float64
	states [][]byte // of the training slots
}

func (c *course) left() left {
	return left{slices.Concat(slices.Concat(c.picks...)...), c.norms, c.states()}
}

func (c *course) states() (all [][]byte) {
	for slot := range 2 {
		state, err := c.engine.TrainingState(slot)
		require.NoError(c.t, err)
		all = append(all, state.Data)
	}
	return all
}

func (c *course) restore(states [][]byte) {
	for slot, state := range states {
		require.NoError(c.t, c.engine.RestoreTraining(slot, state))
	}
}

func (c *course) updates() []batch.Update {
	u := batch.Update{Targets: 20, Step: 1, LR: 1e-2, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Clip: 1}
	other := u
	other.Slot, other.Optimizer = 1, batch.SGD
	return []batch.Update{u, other}
}

// run accumulates two passes and updates at the end of the second.
func (c *course) run(cut []int) (first, second left) {
	c.pass(cut)
	first = c.left()
	c.pass(cut, c.updates()...)
	return first, c.left()
}

var cuttings = [][]int{
	{1, 1, 1, 1, 0, 0},
	{2, 2, 0, 0, 0, 0},
	{0, 0, 0, 3, 0, 1},
	{0, 0, 2, 0, 7, 0},
	{0, 0, 0, 0, 0, batch.All},
}

// However a pass is cut, between whatever steps, one by one or overlapping,
// every bit is that of the pass in one step, its own and those of the steps between.
func TestSlicesChangeNothing(t *testing.T) {
	for name, c := range map[string]struct {
		family string
		kept   int
		config engine.Config
	}{
		"kept":             {"Llama", 4, engine.Config{DType: "f32"}},
		"some recomputed":  {"Llama", 2, engine.Config{DType: "f32"}},
		"many submissions": {"Llama", 0, engine.Config{DType: "f32", Submission: 1}},
		"f16, normed keys": {"Qwen3", 4, engine.Config{DType: "f16"}},
		"f16, recomputed":  {"Qwen3", 1, engine.Config{DType: "f16"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := openCourse(t, c.family, c.kept, c.config)
			begun := c.states()
			first, second := c.run([]int{batch.All, 0, 0, 0, 0, 0})
			require.Len(t, second.norms, 2)
			require.NotEqual(t, begun, second.states)
			for i, cut := range cuttings {
				c.overlap = i%2 == 0
				c.restore(begun)
				one, two := c.run(cut)
				require.Equal(t, first, one, "%v", cut)
				require.Equal(t, second, two, "%v", cut)
			}
		})
	}
}

// Where what the layers keep does not fit one allocation of the driver, it is kept
// in several, and nothing else changes.
func TestLayersKeptInSeveralAllocations(t *testing.T) {
	const row = 2 * 4 * 128 // bytes of the widest activations, of the gate and up projections
	courses := func(most, stores int) (first, second left) {
		e := openMade(t, openDevice(t), made(t, courseModel("Llama")), engine.Config{
			DType: "f32", MaxRows: 96, TrainRows: 64, CacheBlocks: 16, Slots: 8, Recompute: engine.RecomputeNever, Store: most,
		})
		require.Equal(t, stores, e.Stores())
		return courseOf(t, e).run(cuttings[1])
	}
	first, second := courses(0, 1)
	for stores, layers := range map[int]int{2: 3, 4: 1} {
		one, two := courses(((layers-1)*64+96)*row, stores)
		require.Equal(t, first, one)
		require.Equal(t, second, two)
	}
}

// A slot that leaves in mid-pass, and adapters that come, spoil nothing: the
// other job's gradient is the whole one.
func TestSlotsChangeInMidPass(t *testing.T) {
	c := openCourse(t, "Llama", 2, engine.Config{DType: "f32"})
	begun := c.states()
	c.begin(&batch.Step{Spans: c.trained(), Backward: batch.All})
	want := c.states()
	c.restore(begun)

	c.begin(&batch.Step{Spans: c.trained(), Backward: 1})
	used := c.engine.Used()
	require.NoError(t, c.engine.Attach(4, ranked(c.engine, 64, false)), "of a larger rank than any before")
	require.Greater(t, c.engine.Used(), used)
	c.begin(&batch.Step{Backward: 1})
	require.NoError(t, c.engine.Detach(4))
	require.NoError(t, c.engine.Detach(1))
	got, err := c.engine.TrainingState(0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want[0], got.Data), "what was left has run")
	c.begin(&batch.Step{Spans: c.trained()[:2], Backward: 2})
	_, err = c.engine.TrainingState(0)
	require.EqualError(t, err, "BUG: the training state of slot 0 in the middle of its backward pass")
	require.EqualError(t, c.engine.RestoreTraining(0, begun[0]), err.Error())
	require.NoError(t, c.engine.Detach(0))
	_, err = c.engine.Run(&batch.Step{Backward: 1})
	require.EqualError(t, err, "step of 0 rows, but it takes 1 to 96", "nothing is left")
}

// What does not fit a pending pass is refused, and the pass goes on.
func TestPendingPassIsGuarded(t *testing.T) {
	c := openCourse(t, "Llama", 4, engine.Config{DType: "f32"})
	require.Equal(t, 4, c.engine.Slices())
	updates := c.updates()
	refused := func(want string, step batch.Step) {
		t.Helper()
		require.EqualError(t, c.engine.Start(&step), want)
	}
	refused("-1 slices of a backward pass", batch.Step{Spans: c.trained(), Backward: -1})
	refused("update of slot 1: 1 slices of its backward pass would be left", batch.Step{Spans: c.trained(), Backward: 3, Updates: updates[1:]})
	refused("step of 0 rows, but it takes 1 to 96", batch.Step{Backward: 1})
	c.begin(&batch.Step{Spans: c.trained()[2:], Backward: 1, Updates: updates[:1]}) // of a slot outside the pass
	refused("training rows, while 3 slices of the backward pass before are left", batch.Step{Spans: c.trained(), Backward: batch.All})
	refused("update of slot 1: 1 slices of its backward pass would be left", batch.Step{Backward: 2, Updates: updates})
	refused("step of 0 rows, but it takes 1 to 96", batch.Step{})
	require.NoError(t, c.engine.Start(&batch.Step{Backward: 2}))
	refused("update of slot 1: 1 slices of its backward pass would be left", batch.Step{Updates: updates})
	require.NoError(t, c.engine.Start(&batch.Step{Backward: batch.All, Updates: updates}))
	c.flying = 2
	c.settle(0)
	c.begin(&batch.Step{Spans: c.trained()[2:], Backward: batch.All, Updates: updates})
}
