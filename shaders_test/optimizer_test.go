package shaders_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// update is one adapter's optimizer step with its memory and the oracle's answer.
type update struct {
	batch.Update
	weights, gradient, mean, variance, copy *output
	want                                    ref.Updated
}

// newUpdate draws an update of n floats; disturb changes its gradient.
func (b *bench) newUpdate(u batch.Update, n int, act weights.DType, disturb func(gradient []float32)) update {
	// Weights as small as LoRA's, so that the error allowed is small beside a step.
	w, g := b.normal(n, 0.02, weights.F32), b.normal(n, 2, weights.F32)
	mean, variance := b.normal(n, 0.1, weights.F32), b.normal(n, 0.1, weights.F32)
	for i, v := range variance {
		variance[i] = v * v
	}
	if disturb != nil {
		disturb(g)
	}
	hold := func(x []float32) *output { return b.holding(encode(x, weights.F32)) }
	up := update{Update: u, weights: hold(w), gradient: hold(g), mean: hold(mean), variance: hold(variance)}
	if act != weights.F32 {
		up.copy = b.blank(n * act.Size())
	}
	o := ref.Optimizer{
		SGD: u.Optimizer == batch.SGD, Step: u.Step, LR: u.LR, Beta1: u.Beta1, Beta2: u.Beta2,
		Eps: u.Eps, Decay: u.WeightDecay, Clip: u.Clip,
	}
	up.want = o.Update(w, g, mean, variance, float32(u.Targets))
	return up
}

// row is the update's row; SGD's moments are null.
func (u update) row(partials vk.Range) engine.OptimizerRow {
	row := engine.NewOptimizerRow(u.Update)
	row.Weights, row.Gradient, row.Partials = u.weights.Address, u.gradient.Address, partials.Address
	row.Count = uint32(u.weights.Size / 4)
	if u.Optimizer == batch.AdamW {
		row.Mean, row.Variance = u.mean.Address, u.variance.Address
	}
	if u.copy != nil {
		row.Copy = u.copy.Address
	}
	return row
}

// outputs are all that the step may write.
func (u update) outputs() []*output {
	all := []*output{u.weights, u.gradient, u.mean, u.variance}
	if u.copy != nil {
		all = append(all, u.copy)
	}
	return all
}

// skipped tells whether the oracle left the update out.
func (u update) skipped() bool { return math.IsNaN(u.want.Norm) || math.IsInf(u.want.Norm, 0) }

func (u update) check(b *bench, act weights.DType, norm float64, what string) {
	b.Helper()
	what += fmt.Sprintf(": %+v, %d floats", u.Update, len(u.want.Weights))
	if u.skipped() {
		require.False(b, math.Abs(norm) <= math.MaxFloat64, what)
	} else {
		require.InDelta(b, u.want.Norm, norm, sumError*u.want.Norm, what)
	}
	requireExact(b, make([]float64, len(u.want.Weights)), u.gradient.numbers(b, weights.F32), what)
	for _, o := range u.outputs() {
		if u.skipped() && o != u.gradient {
			require.Equal(b, o.initial[:o.Size], o.content(b), what)
		}
	}
	if u.skipped() {
		return
	}
	requireClose(b, u.want.Mean, u.mean.numbers(b, weights.F32), weights.F32, what)
	requireClose(b, u.want.Variance, u.variance.numbers(b, weights.F32), weights.F32, what)
	requireClose(b, u.want.Weights, u.weights.numbers(b, weights.F32), weights.F32, what)
	if u.copy != nil {
		requireClose(b, u.want.Weights, u.copy.numbers(b, act), act, what)
	}
}

// optimize runs both ops over some updates and checks everything they write.
func (b *bench) optimize(tuning shaders.Tuning, act weights.DType, updates []update) {
	b.Helper()
	k, what := kernels(b.T, tuning, act, act), fmt.Sprintf("%v, workgroup %d", act, tuning.MapWorkgroup)
	var rows []engine.OptimizerRow
	norms := b.blank(4 * len(updates))
	outputs := []*output{norms}
	n, o := engine.GradNorm{Updates: len(updates)}, engine.OptimizerStep{Updates: len(updates), Norms: norms.Range}
	for _, u := range updates {
		partials := b.blank(4 * engine.GradParts)
		rows = append(rows, u.row(partials.Range))
		n.Reads, n.Writes = append(n.Reads, u.gradient.Range), append(n.Writes, partials.Range)
		for _, out := range u.outputs() {
			o.Reads, o.Writes = append(o.Reads, out.Range), append(o.Writes, out.Range)
		}
		o.Reads, outputs = append(o.Reads, partials.Range), append(append(outputs, partials), u.outputs()...)
		o.Longest = max(o.Longest, len(u.want.Weights))
	}
	n.Rows = b.holding(vk.Bytes(rows)).Range
	o.Rows = n.Rows
	b.dispatch(func(rec *vk.Recorder) error {
		if err := k.GradNorm(rec, n); err != nil {
			return err
		}
		return k.Optimizer(rec, o)
	}, outputs...)
	for i, norm := range norms.numbers(b, weights.F32) {
		updates[i].check(b, act, norm, what)
	}
}

// adamW and sgd are updates with everything in them.
func adamW(step int, clip float64) batch.Update {
	return batch.Update{Targets: 7, Optimizer: batch.AdamW, Step: step, LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Clip: clip}
}

func sgd(clip float64) batch.Update {
	return batch.Update{Targets: 133, Optimizer: batch.SGD, Step: 3, LR: 0.5, WeightDecay: 0.01, Clip: clip}
}

// mixedUpdates are of both kinds, several sizes, with and without clipping.
func (b *bench) mixedUpdates(act weights.DType) []update {
	other := adamW(2, 0)
	other.Beta1, other.Beta2, other.Eps, other.WeightDecay, other.Targets = 0.5, 0.9, 1e-2, 0, 1
	return []update{
		b.newUpdate(adamW(1, 0), 4, act, nil),
		b.newUpdate(adamW(1000, 1), 4100, act, nil),
		b.newUpdate(sgd(0), 260, act, nil),
		b.newUpdate(adamW(1, 1e6), 100000, act, nil), // a norm below the limit
		b.newUpdate(sgd(0.5), 1004, act, nil),
		b.newUpdate(other, 12, act, nil),
	}
}

func TestOptimizer(t *testing.T) {
	for _, act := range types {
		b := newBench(t, 59)
		updates := b.mixedUpdates(act)
		tunings := mapTunings(t)
		if act != weights.F32 {
			tunings = shaders.Tunings()
		}
		for _, tuning := range tunings {
			b.optimize(tuning, act, updates)
		}
	}
}

// One adapter's gradient that is not finite stops its own step alone.
func TestOptimizerLeavesOutWhatIsNotFinite(t *testing.T) {
	put := func(at int, x float64) func([]float32) {
		return func(gradient []float32) { gradient[at] = float32(x) }
	}
	for _, act := range types {
		for _, tuning := range shaders.Tunings() {
			b := newBench(t, 60)
			b.optimize(tuning, act, []update{
				b.newUpdate(adamW(1, 1), 260, act, put(259, nan)),
				b.newUpdate(adamW(1, 1), 260, act, nil),
				b.newUpdate(sgd(0), 4100, act, put(0, math.Inf(-1))),
				b.newUpdate(sgd(1), 4100, act, put(4000, nan)),
				b.newUpdate(adamW(5, 0), 1004, act, put(77, math.Inf(1))),
				b.newUpdate(sgd(0), 4, act, nil),
			})
		}
	}
}

// An update without a gradient only decays, and the norm of nothing clips nothing.
func TestOptimizerOfNoGradient(t *testing.T) {
	b := newBench(t, 61)
	clear := func(gradient []float32) { clear(gradient) }
	b.optimize(tuning(t, "software"), weights.BF16, []update{
		b.newUpdate(sgd(1), 64, weights.BF16, clear), b.newUpdate(adamW(9, 1), 64, weights.BF16, clear),
	})
}
