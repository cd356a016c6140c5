package virtualmod

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/weights"
)

func TestNewAdapter(t *testing.T) {
	base := readConfig(t, golden+"/qwen3/model")
	spec := Spec{Rank: 16, Alpha: 24, Targets: []engine.Module{engine.DownProj, engine.QProj}}
	a, err := NewAdapter(spec, base, 1)
	require.NoError(t, err)
	require.Len(t, a.Modules, 2*base.Layers)
	for i, m := range a.Modules {
		out, in := m.Kind.Dims(base)
		assert.Equal(t, i/2, m.Layer)
		assert.Equal(t, []engine.Module{engine.QProj, engine.DownProj}[i%2], m.Kind)
		assert.Equal(t, [...]any{16, 24.0, 1.5, []int{16, in}, []int{out, 16}}, [...]any{m.Rank, m.Alpha, m.Scale, m.A.Shape, m.B.Shape})
		checkUniform(t, m.A.Float32s(), 1/math.Sqrt(float64(in)))
		assert.Equal(t, make([]float32, out*16), m.B.Float32s())
		assert.Nil(t, m.Magnitude)
	}
	dir := t.TempDir()
	require.NoError(t, a.Write(dir))
	requireSame(t, a, readAdapter(t, dir, base))

	spec.RSLoRA = true
	a, err = NewAdapter(spec, base, 1)
	require.NoError(t, err)
	assert.True(t, a.RSLoRA)
	assert.Equal(t, 6.0, a.Modules[0].Scale)
}

// checkUniform looks at bounds, mean, variance and the correlation of
// neighbours, each within five standard deviations.
func checkUniform(t *testing.T, values []float32, bound float64) {
	n := float64(len(values))
	var sum, squares, products float64
	for i, v := range values {
		x := float64(v) / bound
		sum, squares = sum+x, squares+x*x
		products += x * float64(values[(i+1)%len(values)]) / bound
	}
	assert.LessOrEqual(t, float64(slices.Max(values)), bound*(1+1e-6))
	assert.GreaterOrEqual(t, float64(slices.Min(values)), -bound*(1+1e-6))
	assert.InDelta(t, 0, sum/n, 5/math.Sqrt(3*n))
	assert.InDelta(t, 1./3, squares/n, 5*math.Sqrt(4./45/n))
	assert.InDelta(t, 0, products/n, 5/3./math.Sqrt(n))
}

// PEFT's own starting adapters have the same distribution.
func TestGoldenInitIsUniform(t *testing.T) {
	base := readConfig(t, "../models/stories/base")
	for _, m := range readAdapter(t, "../testdata/golden/stories/shakespeare-init", base).Modules {
		_, in := m.Kind.Dims(base)
		checkUniform(t, m.A.Float32s(), 1/math.Sqrt(float64(in)))
	}
}

// A module's numbers depend on the seed and the module, not on the others.
func TestNewAdapterSeeds(t *testing.T) {
	make := func(seed uint64, targets ...engine.Module) *Adapter {
		a, err := NewAdapter(Spec{Rank: 32, Alpha: 8, Targets: targets}, small(), seed)
		require.NoError(t, err)
		return a
	}
	all, some := make(5, everyKind()...), make(5, engine.UpProj, engine.QProj)
	requireSame(t, all, make(5, everyKind()...))
	for _, m := range some.Modules {
		assert.Equal(t, m, find(t, all, m.Layer, m.Kind))
	}
	// No two streams, of one seed or of neighbouring ones, resemble each other.
	var streams [][]float32
	for _, a := range []*Adapter{all, make(6, everyKind()...), make(4, everyKind()...), make(0, everyKind()...)} {
		for _, m := range a.Modules {
			streams = append(streams, m.A.Float32s()[:256])
		}
	}
	for i, a := range streams {
		for _, b := range streams[:i] {
			assert.Less(t, math.Abs(correlation(a, b)), 6/math.Sqrt(256))
		}
	}
}

func correlation(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}

func TestNewAdapterErrors(t *testing.T) {
	q := []engine.Module{engine.QProj}
	for want, spec := range map[string]Spec{
		"the rank is 0, want 1 to 512":               {Alpha: 1, Targets: q},
		"the rank is -1, want 1 to 512":              {Rank: -1, Alpha: 1, Targets: q},
		"the rank is 513, want 1 to 512":             {Rank: 513, Alpha: 1, Targets: q},
		"alpha is 0, want more than 0 and finite":    {Rank: 1, Targets: q},
		"alpha is -2, want more than 0 and finite":   {Rank: 1, Alpha: -2, Targets: q},
		"alpha is NaN, want more than 0 and finite":  {Rank: 1, Alpha: math.NaN(), Targets: q},
		"alpha is +Inf, want more than 0 and finite": {Rank: 1, Alpha: math.Inf(1), Targets: q},
		"there are no target modules":                {Rank: 1, Alpha: 1},
		"there is no module 7":                       {Rank: 1, Alpha: 1, Targets: []engine.Module{7}},
		"target module q_proj is given twice":        {Rank: 1, Alpha: 1, Targets: []engine.Module{engine.QProj, engine.QProj}},
	} {
		_, err := NewAdapter(spec, small(), 0)
		assert.EqualError(t, err, "new adapter: "+want)
	}
	a, err := NewAdapter(Spec{Rank: MaxRank, Alpha: math.MaxFloat32, Targets: q}, small(), 0)
	require.NoError(t, err)
	assert.Equal(t, MaxRank, a.Modules[0].Rank)
}

func TestParseTargets(t *testing.T) {
	for text, want := range map[string][]engine.Module{
		"all":                      {0, 1, 2, 3, 4, 5, 6},
		" all ":                    {0, 1, 2, 3, 4, 5, 6},
		"q_proj":                   {engine.QProj},
		"v_proj,q_proj":            {engine.QProj, engine.VProj},
		" down_proj , gate_proj\n": {engine.GateProj, engine.DownProj},
		"o_proj,k_proj,up_proj":    {engine.KProj, engine.OProj, engine.UpProj},
	} {
		got, err := ParseTargets(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	const known = ": known are all, or a list of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"
	for text, want := range map[string]string{
		"":              `unknown target module ""` + known,
		"q_proj,":       `unknown target module ""` + known,
		"q_proj,c_attn": `unknown target module "c_attn"` + known,
		"all,q_proj":    `unknown target module "all"` + known,
		"Q_proj":        `unknown target module "Q_proj"` + known,
		"q_proj,q_proj": `target module q_proj is given twice`,
	} {
		_, err := ParseTargets(text)
		assert.EqualError(t, err, want, text)
	}
}

func TestSameShape(t *testing.T) {
	two := map[string][2]float64{q0: {4, 8}, down1: {2, 8}}
	a := random(t, two)
	require.NoError(t, a.SameShape(a))
	require.NoError(t, a.SameShape(random(t, map[string][2]float64{q0: {4, 1}, down1: {2, 3}})), "alphas may differ")
	require.NoError(t, (&Adapter{}).SameShape(&Adapter{}))
	wide := random(t, two)
	wide.Modules[1].B = zeros("b", 64, 2)
	for want, other := range map[string]*Adapter{
		`module ` + down1 + ` has rank 2, in the other 3`:                               random(t, map[string][2]float64{q0: {4, 8}, down1: {3, 8}}),
		`module ` + down1 + ` has rank 2, the other adapter has no such module`:         random(t, map[string][2]float64{q0: {4, 8}}),
		`module ` + q0 + ` has rank 4, the other adapter has no such module`:            random(t, map[string][2]float64{down1: {2, 8}}),
		`there is no module ` + down0 + `, in the other adapter it has rank 5`:          random(t, map[string][2]float64{q0: {4, 8}, down0: {5, 8}, down1: {2, 8}}),
		`there is no module ` + q1 + `, in the other adapter it has rank 3`:             random(t, map[string][2]float64{q0: {4, 8}, q1: {3, 1}, down1: {2, 8}}),
		`module ` + down1 + ` has A [2 12] and B [8 2], in the other [2 12] and [64 2]`: wide,
		`use_dora is false, in the other true`:                                          {DoRA: true, Modules: a.Modules},
	} {
		assert.EqualError(t, a.SameShape(other), "the adapters differ: "+want)
	}
	// The other way around the roles change.
	assert.EqualError(t, random(t, map[string][2]float64{q0: {4, 8}}).SameShape(a), "the adapters differ: there is no module "+down1+", in the other adapter it has rank 2")
}

func TestNewAdapterFitsGolden(t *testing.T) {
	base := readConfig(t, golden+"/llama/model")
	want := readAdapter(t, golden+"/llama/train-all-r8/init", base)
	a, err := NewAdapter(Spec{Rank: 8, Alpha: 16, Targets: everyKind()}, base, 3)
	require.NoError(t, err)
	require.NoError(t, a.SameShape(want))
	a.Base = want.Base
	dir := t.TempDir()
	require.NoError(t, a.Write(dir))
	assert.Equal(t, lines(read(t, golden+"/llama/train-all-r8/init", peftConfigFile)), lines(read(t, dir, peftConfigFile)))
	assert.Equal(t, weights.F32, a.Modules[0].A.DType)
}
