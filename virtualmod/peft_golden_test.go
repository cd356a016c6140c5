package virtualmod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/weights"
)

const golden = "../testdata/golden/tiny"

func readConfig(t *testing.T, dir string) weights.Config {
	c, err := weights.ReadConfig(weights.OpenFS(os.DirFS(dir), dir))
	require.NoError(t, err)
	return c
}

func readAdapter(t *testing.T, dir string, base weights.Config) *Adapter {
	folder, err := weights.OpenDir(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, folder.Close()) })
	a, err := ReadPEFT(folder, base)
	require.NoError(t, err)
	return a
}

func find(t *testing.T, a *Adapter, layer int, kind engine.Module) Module {
	i := slices.IndexFunc(a.Modules, func(m Module) bool { return m.Layer == layer && m.Kind == kind })
	require.GreaterOrEqual(t, i, 0, "%v of layer %d", kind, layer)
	return a.Modules[i]
}

var allKinds = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// Every adapter beside the golden models, with what its maker gave it.
func TestReadGoldenAdapters(t *testing.T) {
	want := map[string]Info{
		"adapters/qv-r8":         {Ranks: []int{8}, Alphas: []float64{16}, Scales: []float64{2}, Kinds: []string{"q_proj", "v_proj"}},
		"adapters/all-r16":       {Ranks: []int{16}, Alphas: []float64{32}, Scales: []float64{2}, Kinds: allKinds},
		"adapters/mlp-r4-rslora": {Ranks: []int{4}, Alphas: []float64{8}, Scales: []float64{4}, Kinds: []string{"gate_proj", "up_proj", "down_proj"}, RSLoRA: true},
		"adapters/odd-r5":        {Ranks: []int{5}, Alphas: []float64{7}, Scales: []float64{1.4}, Kinds: []string{"k_proj", "o_proj", "down_proj"}},
		"adapters/pattern":       {Ranks: []int{2, 8, 12}, Alphas: []float64{8, 24}, Scales: []float64{8. / 12, 1, 3, 4}, Kinds: allKinds},
		"adapters/dora-r8":       {Ranks: []int{8}, Alphas: []float64{16}, Scales: []float64{2}, Kinds: []string{"q_proj", "up_proj", "down_proj"}, DoRA: true},
		"train-all-r8/init":      {Ranks: []int{8}, Alphas: []float64{16}, Scales: []float64{2}, Kinds: allKinds},
		"train-all-r8/final":     {Ranks: []int{8}, Alphas: []float64{16}, Scales: []float64{2}, Kinds: allKinds},

		"train-qv-r4-accum2/init":  {Ranks: []int{4}, Alphas: []float64{4}, Scales: []float64{1}, Kinds: []string{"q_proj", "v_proj"}},
		"train-qv-r4-accum2/final": {Ranks: []int{4}, Alphas: []float64{4}, Scales: []float64{1}, Kinds: []string{"q_proj", "v_proj"}},
	}
	for _, model := range []string{"llama", "llama3-rope-tied", "qwen2", "qwen3"} {
		base := readConfig(t, filepath.Join(golden, model, "model"))
		for dir, w := range want {
			t.Run(model+"/"+dir, func(t *testing.T) {
				a := readAdapter(t, filepath.Join(golden, model, dir), base)
				w.Name, w.Base, w.Layers, w.Modules = filepath.Base(dir), model, 2, 2*len(w.Kinds)
				got := a.Info()
				assert.Equal(t, 4*got.Parameters, got.Bytes)
				assert.Equal(t, parameters(a, base), got.Parameters)
				got.Parameters, got.Bytes = 0, 0
				assert.Empty(t, cmp.Diff(w, got))
				checkTensors(t, a, base)
			})
		}
	}
}

// parameters counts them from ranks and the base alone.
func parameters(a *Adapter, base weights.Config) int {
	n := 0
	for _, m := range a.Modules {
		out, in := m.Kind.Dims(base)
		n += m.Rank * (in + out)
		if a.DoRA {
			n += out
		}
	}
	return n
}

func checkTensors(t *testing.T, a *Adapter, base weights.Config) {
	for i, m := range a.Modules {
		name := fmt.Sprintf("base_model.model.model.layers.%d.", m.Layer)
		assert.Contains(t, m.A.Name, name)
		assert.Contains(t, m.B.Name, name)
		assert.Contains(t, m.A.Name, m.Kind.String()+".lora_A")
		assert.Contains(t, m.B.Name, m.Kind.String()+".lora_B")
		assert.Equal(t, a.DoRA, m.Magnitude != nil)
		if i > 0 {
			before := a.Modules[i-1]
			assert.Less(t, before.Layer*engine.Modules+int(before.Kind), m.Layer*engine.Modules+int(m.Kind), "order")
		}
	}
}

// The sizes of modules in a base whose heads are wider than its residual stream.
func TestReadGoldenShapes(t *testing.T) {
	base := readConfig(t, golden+"/qwen3/model") // hidden 64, 4 heads and 2 key heads of 32, intermediate 160
	a := readAdapter(t, golden+"/qwen3/adapters/pattern", base)
	for kind, want := range map[engine.Module][2][]int{
		engine.QProj: {{2, 64}, {128, 2}}, engine.KProj: {{8, 64}, {64, 8}}, engine.VProj: {{8, 64}, {64, 8}}, engine.OProj: {{8, 128}, {64, 8}},
		engine.GateProj: {{8, 64}, {160, 8}}, engine.UpProj: {{8, 64}, {160, 8}}, engine.DownProj: {{12, 160}, {64, 12}},
	} {
		m := find(t, a, 1, kind)
		assert.Equal(t, want, [2][]int{m.A.Shape, m.B.Shape}, kind.String())
	}
	assert.Equal(t, 4.0, find(t, a, 0, engine.QProj).Scale)
	assert.Equal(t, 3.0, find(t, a, 0, engine.UpProj).Scale)
	assert.Equal(t, 1.0, find(t, a, 0, engine.GateProj).Scale)
	assert.Equal(t, 8.0/12, find(t, a, 0, engine.DownProj).Scale)

	dora := readAdapter(t, golden+"/qwen3/adapters/dora-r8", base)
	assert.Equal(t, []int{128}, find(t, dora, 0, engine.QProj).Magnitude.Shape)
	assert.Equal(t, []int{64}, find(t, dora, 1, engine.DownProj).Magnitude.Shape)
}

func TestReadStoriesAdapters(t *testing.T) {
	const dir = "../models/stories/"
	base := readConfig(t, dir+"base") // hidden 192, 6 heads and 2 key heads of 32, intermediate 512
	for name, want := range map[string]Info{
		"math":        {Ranks: []int{16}, Alphas: []float64{32}, Scales: []float64{8}, Kinds: allKinds, RSLoRA: true},
		"shakespeare": {Ranks: []int{8}, Alphas: []float64{16}, Scales: []float64{2}, Kinds: allKinds},
		"upper":       {Ranks: []int{4}, Alphas: []float64{8}, Scales: []float64{2}, Kinds: []string{"q_proj", "v_proj", "up_proj", "down_proj"}},
	} {
		a := readAdapter(t, dir+name, base)
		got := a.Info()
		want.Name, want.Base, want.Layers, want.Modules = name, "stories", 6, 6*len(want.Kinds)
		want.Parameters, want.Bytes = parameters(a, base), 4*parameters(a, base)
		assert.Empty(t, cmp.Diff(want, got))
	}
	// 16 * (192+192 + 2*(192+64) + 192+192 + 3*(192+512)) * 6 layers
	assert.Equal(t, 325632, readAdapter(t, dir+"math", base).Info().Parameters)
}
