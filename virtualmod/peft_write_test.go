package virtualmod

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// eachGolden calls check with every adapter that PEFT wrote.
func eachGolden(t *testing.T, check func(t *testing.T, dir string, base weights.Config)) {
	count := 0
	for pattern, model := range map[string]string{
		golden + "/*/adapters/*":            "../../model",
		golden + "/*/train-*/*":             "../../model",
		"../testdata/golden/stories/*-init": "../../../../models/stories/base",
		"../models/stories/[a-z]*":          "../base",
	} {
		dirs, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, dir := range dirs {
			if _, err := os.Stat(filepath.Join(dir, peftConfigFile)); err != nil {
				continue // a base, or a file
			}
			count++
			t.Run(dir, func(t *testing.T) { check(t, dir, readConfig(t, filepath.Join(dir, model))) })
		}
	}
	assert.GreaterOrEqual(t, count, 24+16+3+3)
}

// requireSame compares everything but the folder.
func requireSame(t *testing.T, want, got *Adapter) {
	t.Helper()
	require.Equal(t, [...]any{want.Base, want.BaseLayers, want.RSLoRA, want.DoRA}, [...]any{got.Base, got.BaseLayers, got.RSLoRA, got.DoRA})
	require.Len(t, got.Modules, len(want.Modules))
	for i, m := range want.Modules {
		n := got.Modules[i]
		require.Equal(t, [...]any{m.Layer, m.Kind, m.Rank, m.Alpha, m.Scale}, [...]any{n.Layer, n.Kind, n.Rank, n.Alpha, n.Scale}, m.name())
		requireSameTensor(t, &m.A, &n.A)
		requireSameTensor(t, &m.B, &n.B)
		requireSameTensor(t, m.Magnitude, n.Magnitude)
	}
}

func requireSameTensor(t *testing.T, want, got *weights.Tensor) {
	t.Helper()
	if want == nil {
		require.Nil(t, got)
		return
	}
	require.Equal(t, weights.F32, got.DType)
	name := strings.ReplaceAll(want.Name, "vector.weight", "vector") // the one PEFT writes
	require.Equal(t, [...]any{name, want.Shape}, [...]any{got.Name, got.Shape})
	require.True(t, slices.Equal(want.Float32s(), got.Float32s()), want.Name)
}

func read(t *testing.T, dir, file string) string {
	data, err := os.ReadFile(filepath.Join(dir, file))
	require.NoError(t, err)
	return string(data)
}

// lines are a JSON file's lines whose order counts for nothing: PEFT writes the
// set of target modules in any.
func lines(text string) []string {
	var all []string
	for line := range strings.SplitSeq(text, "\n") {
		all = append(all, strings.TrimSuffix(line, ","))
	}
	slices.Sort(all)
	return all
}

// What PEFT wrote is read, written and read again: the tensors' file is the same
// to the byte, the configuration but for the order of the targets.
func TestWriteGolden(t *testing.T) {
	eachGolden(t, func(t *testing.T, dir string, base weights.Config) {
		a, out := readAdapter(t, dir, base), t.TempDir()
		require.NoError(t, a.Write(out))
		requireSame(t, a, readAdapter(t, out, base))
		want, got := read(t, dir, peftConfigFile), read(t, out, peftConfigFile)
		assert.Equal(t, lines(want), lines(got))
		assert.Equal(t, got[len(got)-1:], "}")
		var fields struct {
			Targets []string `json:"target_modules"`
		}
		require.NoError(t, json.Unmarshal([]byte(got), &fields))
		assert.True(t, slices.IsSorted(fields.Targets))
		assert.True(t, read(t, dir, peftModelFile) == read(t, out, peftModelFile))
	})
}

// random is an adapter of small with the given ranks and alphas by module.
func random(t *testing.T, modules map[string][2]float64) *Adapter {
	a, err := NewAdapter(Spec{Rank: 4, Alpha: 4, Targets: everyKind()}, small(), 7)
	require.NoError(t, err)
	a.Base = `C:\models\<b> & "c" é`
	a.Modules = slices.DeleteFunc(a.Modules, func(m Module) bool { return modules[m.name()][0] == 0 })
	require.Len(t, a.Modules, len(modules))
	for i := range a.Modules {
		m := &a.Modules[i]
		m.Rank, m.Alpha = int(modules[m.name()][0]), modules[m.name()][1]
		m.Scale = loraScale(m.Alpha, m.Rank, false)
		out, in := m.Kind.Dims(small())
		m.A, m.B = zeros(m.tensorName(partA), m.Rank, in), zeros(m.tensorName(partB), out, m.Rank)
	}
	return a
}

// zeros is a tensor of zeros.
func zeros(name string, rows, columns int) weights.Tensor {
	t := newTensor(name, rows, columns)
	t.Data = make([]byte, t.Bytes())
	return t
}

func everyKind() []engine.Module {
	kinds, _ := ParseTargets("all")
	return kinds
}

func TestWritePatterns(t *testing.T) {
	const v1 = "model.layers.1.self_attn.v_proj"
	cases := []struct {
		modules map[string][2]float64 // rank, alpha
		want    string
	}{
		{map[string][2]float64{q0: {4, 8}, q1: {4, 8}},
			`{"r":4,"lora_alpha":8,"rank_pattern":{},"alpha_pattern":{},"target_modules":["q_proj"]}`},
		{map[string][2]float64{q0: {4, 8}, q1: {2, 8}, down0: {4, 0.1}, down1: {4, 0.1}},
			`{"r":4,"lora_alpha":0.1,"rank_pattern":{"` + q1 + `":2},"alpha_pattern":{"q_proj":8},"target_modules":["down_proj","q_proj"]}`},
		{map[string][2]float64{q0: {1, 3}, q1: {2, 1e300}, down0: {512, 7.25}, v1: {512, -1}},
			`{"r":512,"lora_alpha":-1,"rank_pattern":{"` + q0 + `":1,"` + q1 + `":2},
			"alpha_pattern":{"` + q0 + `":3,"` + q1 + `":1e300,"down_proj":7.25},
			"target_modules":["` + down0 + `","` + v1 + `","q_proj"]}`},
		{map[string][2]float64{down1: {3, 0}},
			`{"r":3,"lora_alpha":0,"rank_pattern":{},"alpha_pattern":{},"target_modules":["` + down1 + `"]}`},
	}
	for _, c := range cases {
		a, dir := random(t, c.modules), t.TempDir()
		require.NoError(t, a.Write(dir))
		requireSame(t, a, readAdapter(t, dir, small()))
		var got, want object
		require.NoError(t, json.Unmarshal([]byte(read(t, dir, peftConfigFile)), &got))
		require.NoError(t, json.Unmarshal([]byte(c.want), &want))
		for field := range want {
			assert.Equal(t, want[field], got[field], field)
		}
		require.Contains(t, got, "layers_to_transform")
		assert.Nil(t, got["layers_to_transform"])
	}
}

// A layer's number that begins like another's does not take its pattern.
func TestWritePatternsOfManyLayers(t *testing.T) {
	base := small()
	base.Layers = 123
	for _, rslora := range []bool{false, true} {
		a, err := NewAdapter(Spec{Rank: 2, Alpha: 4, RSLoRA: rslora, Targets: everyKind()[:2]}, base, 1)
		require.NoError(t, err)
		for i := range a.Modules {
			if m := &a.Modules[i]; m.Layer%10 == 1 && m.Kind == engine.KProj {
				m.Alpha = float64(m.Layer)
				m.Scale = loraScale(m.Alpha, m.Rank, rslora)
			}
		}
		a.Modules = slices.Delete(a.Modules, 3, 4) // k of layer 1: the others are named in full
		dir := t.TempDir()
		require.NoError(t, a.Write(dir))
		requireSame(t, a, readAdapter(t, dir, base))
	}
}

// Tensors of other types and a magnitude under its other name come out as PEFT
// writes them.
func TestWriteConverts(t *testing.T) {
	m := adapterOf(4, down0, down1)
	m.config["use_dora"] = true
	m.tensors["base_model.model."+down0+".lora_magnitude_vector.weight"] = []int{8}
	m.tensors["base_model.model."+down1+".lora_magnitude_vector"] = []int{8}
	a, err := ReadPEFT(m.folder(t), small())
	require.NoError(t, err)
	for i, b := range a.Modules[0].A.Data {
		a.Modules[0].A.Data[i] = b + byte(i)%100
	}
	dir := t.TempDir()
	require.NoError(t, a.Write(dir))
	requireSame(t, a, readAdapter(t, dir, small()))
	assert.Equal(t, weights.BF16, a.Modules[0].A.DType, "the adapter itself is as it was")
	assert.NotContains(t, read(t, dir, peftModelFile), "vector.weight")
}

func TestWriteErrors(t *testing.T) {
	magnitude := zeros("m", 1, 8)
	cases := []struct {
		change func(a *Adapter)
		want   string
	}{
		{func(a *Adapter) { a.Modules = nil }, `it has no modules`},
		{func(a *Adapter) { a.Modules[1] = a.Modules[0] }, `module ` + q0 + ` is there twice`},
		{func(a *Adapter) { a.BaseLayers = 1 }, `module ` + q1 + `: the base has 1 layers`},
		{func(a *Adapter) { a.Modules[0].Rank = 0 }, `module ` + q0 + `: its rank is 0, want 1 to 512`},
		{func(a *Adapter) { a.Modules[0].Rank = 513 }, `module ` + q0 + `: its rank is 513, want 1 to 512`},
		{func(a *Adapter) { a.Modules[0].Scale = 3 }, `module ` + q0 + `: its scale is 3, alpha 8 and rank 4 give 2`},
		{func(a *Adapter) { a.RSLoRA = true }, `module ` + q0 + `: its scale is 2, alpha 8 and rank 4 give 4`},
		{func(a *Adapter) { a.Modules[0].Alpha, a.Modules[0].Scale = math.NaN(), math.NaN() }, `module ` + q0 + `: its scale is NaN, alpha NaN and rank 4 give NaN`},
		{func(a *Adapter) { a.Modules[0].Alpha, a.Modules[0].Scale = math.Inf(1), math.Inf(1) }, `encode adapter_config.json: json: unsupported value: +Inf`},
		{func(a *Adapter) { a.DoRA = true }, `module ` + q0 + `: it has a magnitude: false, the adapter is DoRA: true`},
		{func(a *Adapter) { a.Modules[1].Magnitude = &magnitude }, `module ` + q1 + `: it has a magnitude: true, the adapter is DoRA: false`},
		{func(a *Adapter) { a.Modules[0].A.Shape = []int{8, 4} }, `module ` + q0 + `: its A has shape [8 4] and its B [8 4], want [4 in] and [out 4]`},
		{func(a *Adapter) { a.Modules[0].B.Shape = []int{32} }, `module ` + q0 + `: its A has shape [4 8] and its B [32], want [4 in] and [out 4]`},
		{func(a *Adapter) {
			a.DoRA = true
			a.Modules[0].Magnitude = &magnitude
		}, `module ` + q0 + `: the magnitude has shape [1 8], B has [8 4]`},
	}
	for _, c := range cases {
		a, dir := random(t, map[string][2]float64{q0: {4, 8}, q1: {4, 8}}), t.TempDir()
		require.NoError(t, a.Write(dir))
		c.change(a)
		require.EqualError(t, a.Write(dir), "write adapter "+dir+": "+c.want)
		assert.Len(t, readAdapter(t, dir, small()).Modules, 2, "the old adapter stays")
	}
	a, dir := random(t, map[string][2]float64{q0: {4, 8}}), filepath.Join(t.TempDir(), "none")
	require.ErrorIs(t, a.Write(dir), os.ErrNotExist)
}

// At every moment between the steps the folder holds one adapter or none.
func TestWriteReplacesInSteps(t *testing.T) {
	dir := t.TempDir()
	before := random(t, map[string][2]float64{q0: {4, 8}, q1: {4, 8}})
	after := random(t, map[string][2]float64{q0: {4, 16}, q1: {4, 16}}) // the tensors fit either configuration
	require.NoError(t, before.Write(dir))
	requireSame(t, before, readAdapter(t, dir, small()))
	require.NoError(t, after.writeModel(dir))
	_, err := ReadPEFT(weights.OpenFS(os.DirFS(dir), dir), small())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, after.Write(dir))
	requireSame(t, after, readAdapter(t, dir, small()))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, files, 2)
}

// Where the tensors cannot be written, no configuration stays beside the old ones.
func TestWriteFailsBetween(t *testing.T) {
	a, dir := random(t, map[string][2]float64{q0: {4, 8}}), t.TempDir()
	require.NoError(t, a.Write(dir))
	model := filepath.Join(dir, peftModelFile)
	require.NoError(t, os.Remove(model))
	require.NoError(t, os.MkdirAll(filepath.Join(model, "in the way"), 0o755))
	require.ErrorContains(t, a.Write(dir), "write "+model)
	assert.NoFileExists(t, filepath.Join(dir, peftConfigFile))
}
