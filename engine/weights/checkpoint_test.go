package weights

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const golden = "../../testdata/golden/tiny"

func TestOpenGoldenModels(t *testing.T) {
	cases := []struct {
		dir     string
		arch    Architecture
		dtype   DType
		tensors int
		bytes   int64
		tied    bool
		headDim int
		shapes  map[string][]int
	}{
		{golden + "/llama/model", Llama, F32, 2*9 + 3, 541952, false, 16, map[string][]int{
			"lm_head.weight": {384, 64}, "model.layers.1.self_attn.k_proj.weight": {32, 64}, "model.layers.0.mlp.down_proj.weight": {64, 160}}},
		{golden + "/llama3-rope-tied/model", Llama, F32, 2*9 + 2, 714624, true, 32, map[string][]int{
			"model.embed_tokens.weight": {384, 96}, "model.layers.1.self_attn.k_proj.weight": {32, 96}, "model.norm.weight": {96}}},
		{golden + "/qwen2/model", Qwen2, F32, 2*12 + 2, 444672, true, 16, map[string][]int{
			"model.layers.0.self_attn.q_proj.bias": {64}, "model.layers.1.self_attn.v_proj.bias": {32}}},
		{golden + "/qwen3/model", Qwen3, F32, 2*11 + 2, 542464, true, 32, map[string][]int{
			"model.layers.0.self_attn.q_norm.weight": {32}, "model.layers.0.self_attn.q_proj.weight": {128, 64}, "model.layers.1.self_attn.o_proj.weight": {64, 128}}},
		{"../../models/stories/base", Llama, BF16, 6*9 + 2, 5510016, true, 32, map[string][]int{
			"model.embed_tokens.weight": {2048, 192}, "model.layers.5.mlp.up_proj.weight": {512, 192}, "model.layers.5.self_attn.v_proj.weight": {64, 192}}},
	}
	for _, c := range cases {
		t.Run(c.dir, func(t *testing.T) {
			for _, folder := range []Folder{openDir(t, c.dir), OpenFS(os.DirFS(c.dir), c.dir)} {
				m, err := Open(folder)
				require.NoError(t, err)
				assert.Equal(t, c.arch, m.Config.Architecture)
				assert.Equal(t, c.tied, m.Config.Tied)
				assert.Equal(t, c.headDim, m.Config.HeadDim)
				assert.Equal(t, c.dtype, m.Config.DType)
				assert.Equal(t, []int32{1}, m.Config.BOS)
				assert.Equal(t, []int32{2}, m.Config.EOS)
				assert.Equal(t, 0, m.Config.SlidingWindow)
				assert.Len(t, m.Names(), c.tensors)
				assert.True(t, slices.IsSorted(m.Names()))
				assert.Equal(t, c.bytes, m.Bytes())
				for name, shape := range c.shapes {
					x, ok := m.Tensor(name)
					require.True(t, ok, name)
					assert.Equal(t, shape, x.Shape, name)
					assert.Equal(t, c.dtype, x.DType)
				}
				_, ok := m.Tensor("model.rotary_emb.inv_freq")
				assert.False(t, ok)
				require.NoError(t, m.Close())
			}
		})
	}
}

func TestGoldenConfigs(t *testing.T) {
	read := func(name string) Config {
		c, err := ReadConfig(openDir(t, filepath.Join(golden, name, "model")))
		require.NoError(t, err)
		return c
	}
	c := read("llama3-rope-tied")
	assert.Equal(t, 500000.0, c.RopeTheta)
	assert.Equal(t, &RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 64}, c.RopeScaling)
	assert.Equal(t, []int{3, 1, 96, 160, 2, 384, 512}, []int{c.Heads, c.KVHeads, c.HiddenSize, c.IntermediateSize, c.Layers, c.VocabSize, c.MaxPositions})
	assert.Equal(t, 1e-5, c.NormEps)
	assert.Nil(t, read("llama").RopeScaling)
	assert.True(t, read("qwen2").AttentionBias)
	assert.False(t, read("qwen2").OutputBias)
	assert.True(t, read("qwen3").QKNorm)
	assert.False(t, read("qwen3").AttentionBias)
}

// The first values of the last norm, as another reader of the format gives them.
func TestGoldenValues(t *testing.T) {
	for dir, want := range map[string][]float32{
		golden + "/llama/model":     {0.728644609451294, 0.8708779811859131, 1.1849029064178467},
		"../../models/stories/base": {2.0, 1.921875, 1.90625},
	} {
		m, err := Open(openDir(t, dir))
		require.NoError(t, err)
		x, _ := m.Tensor("model.norm.weight")
		assert.Equal(t, want, x.Float32s()[:3], dir)
	}
}

// fill makes the tensors that a configuration needs, of zeros.
func fill(c Config, dtype DType) []Tensor {
	var all []Tensor
	for _, s := range c.Tensors() {
		n := dtype.Size()
		for _, d := range s.Shape {
			n *= d
		}
		all = append(all, Tensor{Name: s.Name, DType: dtype, Shape: s.Shape, Data: make([]byte, n)})
	}
	return all
}

// writeModel writes a small model's folder, with some fields of its
// configuration changed, and returns what would be its tensors.
func writeModel(t *testing.T, changes object) (dir string, tensors []Tensor) {
	dir = t.TempDir()
	writeFile(t, dir, "config.json", jsonFile(t, smallConfig(changes)).Data)
	config, err := ReadConfig(openDir(t, dir))
	require.NoError(t, err)
	return dir, fill(config, F16)
}

func index(t *testing.T, weightMap map[string]string) []byte {
	data, err := json.Marshal(map[string]any{"metadata": object{"total_size": 1}, "weight_map": weightMap})
	require.NoError(t, err)
	return data
}

func TestOpenSharded(t *testing.T) {
	dir, all := writeModel(t, nil)
	all[3].Data[0] = 77
	stale := all[3]
	stale.Data = make([]byte, len(stale.Data))
	writeFile(t, dir, "a.safetensors", encode(t, all[:7]...))
	writeFile(t, dir, "b.safetensors", encode(t, append(slices.Clone(all[7:]), stale)...))
	weightMap := map[string]string{}
	for i, x := range all {
		weightMap[x.Name] = map[bool]string{true: "a.safetensors", false: "b.safetensors"}[i < 7]
	}
	writeFile(t, dir, indexFile, index(t, weightMap))

	m, err := Open(openDir(t, dir))
	require.NoError(t, err)
	assert.Len(t, m.Names(), len(all))
	x, _ := m.Tensor(all[3].Name)
	assert.Equal(t, byte(77), x.Data[0], "the index says which of two tensors of one name counts")
	assert.Equal(t, filepath.Join(dir, "a.safetensors"), x.File)
	last, _ := m.Tensor("lm_head.weight")
	assert.Equal(t, filepath.Join(dir, "b.safetensors"), last.File)
}

func TestOpenShardedErrors(t *testing.T) {
	cases := []struct {
		name  string
		index func(weightMap map[string]string) []byte
		want  string
	}{
		{"missing shard", func(m map[string]string) []byte { m["model.norm.weight"] = "gone.safetensors"; return index(t, m) },
			`model.safetensors.index.json: the file of tensor "model.norm.weight": read: `},
		{"path in the name", func(m map[string]string) []byte { m["model.norm.weight"] = "../x.safetensors"; return index(t, m) },
			`"../x.safetensors" is not a plain file name`},
		{"not in its shard", func(m map[string]string) []byte { m["extra"] = "a.safetensors"; return index(t, m) },
			`model.safetensors.index.json: tensor "extra" is not in "a.safetensors"`},
		{"tensor left out", func(m map[string]string) []byte { delete(m, "model.norm.weight"); return index(t, m) },
			`: tensor "model.norm.weight" of shape [8] is missing`},
		{"empty", func(map[string]string) []byte { return index(t, nil) }, `model.safetensors.index.json: weight_map is missing or empty`},
		{"not JSON", func(map[string]string) []byte { return []byte("<html>") }, `model.safetensors.index.json: not an index: `},
		{"not names", func(map[string]string) []byte { return []byte(`{"weight_map":{"a":1}}`) }, `model.safetensors.index.json: not an index: `},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir, all := writeModel(t, nil)
			writeFile(t, dir, "a.safetensors", encode(t, all...))
			weightMap := map[string]string{}
			for _, x := range all {
				weightMap[x.Name] = "a.safetensors"
			}
			writeFile(t, dir, indexFile, c.index(weightMap))
			_, err := Open(openDir(t, dir))
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestOpenErrors(t *testing.T) {
	replace := func(name string, with func(*Tensor)) func([]Tensor) []Tensor {
		return func(all []Tensor) []Tensor {
			for i := range all {
				if all[i].Name == name {
					with(&all[i])
				}
			}
			return all
		}
	}
	cases := []struct {
		name   string
		change func([]Tensor) []Tensor
		want   string
	}{
		{"wrong shape", replace("model.norm.weight", func(x *Tensor) { x.Shape, x.Data = []int{4, 2}, make([]byte, 16) }),
			`model.safetensors: tensor "model.norm.weight" has shape [4 2], config.json has [8]`},
		{"transposed", replace("model.layers.1.mlp.up_proj.weight", func(x *Tensor) { slices.Reverse(x.Shape) }),
			`tensor "model.layers.1.mlp.up_proj.weight" has shape [8 12], config.json has [12 8]`},
		{"missing", func(all []Tensor) []Tensor { return all[1:] },
			`: tensor "model.embed_tokens.weight" of shape [16 8] is missing`},
		{"no tensors", func([]Tensor) []Tensor { return nil },
			`: tensor "model.embed_tokens.weight" of shape [16 8] is missing`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir, all := writeModel(t, nil)
			writeFile(t, dir, singleFile, encode(t, c.change(all)...))
			_, err := Open(openDir(t, dir))
			require.ErrorContains(t, err, c.want)
		})
	}
	dir, _ := writeModel(t, nil)
	_, err := Open(openDir(t, dir))
	require.ErrorContains(t, err, dir+" has neither model.safetensors nor model.safetensors.index.json")
	writeFile(t, dir, singleFile, raw(`{"model.embed_tokens.weight":{"dtype":"I8","shape":[16,8],"data_offsets":[0,128]}}`, 128))
	_, err = Open(openDir(t, dir))
	require.EqualError(t, err, filepath.Join(dir, singleFile)+`: tensor "model.embed_tokens.weight" has dtype "I8", supported are F32, F16 and BF16`)
}

// A tensor the model does not need does not matter, whatever its type.
func TestOpenIgnoresOthers(t *testing.T) {
	dir, all := writeModel(t, object{"tie_word_embeddings": true})
	others := []Tensor{
		{Name: "lm_head.weight", DType: F16, Shape: []int{1}, Data: make([]byte, 2)},
		{Name: "model.layers.0.self_attn.rotary_emb.inv_freq", DType: F32, Shape: []int{1}, Data: make([]byte, 4)},
	}
	writeFile(t, dir, singleFile, encode(t, append(all, others...)...))
	m, err := Open(openDir(t, dir))
	require.NoError(t, err)
	assert.Len(t, m.Names(), len(all))
	_, ok := m.Tensor("lm_head.weight")
	assert.False(t, ok)
}

func TestTensorsOfBiases(t *testing.T) {
	_, all := writeModel(t, object{"attention_bias": true, "mlp_bias": true, "num_hidden_layers": 1})
	shapes := map[string][]int{}
	for _, x := range all {
		shapes[x.Name] = x.Shape
	}
	assert.Equal(t, map[string][]int{
		"model.embed_tokens.weight":                      {16, 8},
		"model.norm.weight":                              {8},
		"lm_head.weight":                                 {16, 8},
		"model.layers.0.input_layernorm.weight":          {8},
		"model.layers.0.post_attention_layernorm.weight": {8},
		"model.layers.0.self_attn.q_proj.weight":         {8, 8},
		"model.layers.0.self_attn.q_proj.bias":           {8},
		"model.layers.0.self_attn.k_proj.weight":         {4, 8},
		"model.layers.0.self_attn.k_proj.bias":           {4},
		"model.layers.0.self_attn.v_proj.weight":         {4, 8},
		"model.layers.0.self_attn.v_proj.bias":           {4},
		"model.layers.0.self_attn.o_proj.weight":         {8, 8},
		"model.layers.0.self_attn.o_proj.bias":           {8},
		"model.layers.0.mlp.gate_proj.weight":            {12, 8},
		"model.layers.0.mlp.gate_proj.bias":              {12},
		"model.layers.0.mlp.up_proj.weight":              {12, 8},
		"model.layers.0.mlp.up_proj.bias":                {12},
		"model.layers.0.mlp.down_proj.weight":            {8, 12},
		"model.layers.0.mlp.down_proj.bias":              {8},
	}, shapes)
	assert.Len(t, slices.Collect(maps.Keys(shapes)), len(all))
}
