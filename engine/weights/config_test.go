package weights

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type object = map[string]any

// smallConfig is a complete configuration with some fields changed; a field
// changed to absent is left out.
type absentField struct{}

var absent absentField

func smallConfig(changes object) object {
	config := object{
		"model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "vocab_size": 16, "max_position_embeddings": 64,
	}
	maps.Copy(config, changes)
	maps.DeleteFunc(config, func(_ string, v any) bool { return v == absent })
	return config
}

func jsonFile(t *testing.T, v any) *fstest.MapFile {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return &fstest.MapFile{Data: data}
}

func readChanged(t *testing.T, changes object) (Config, error) {
	return ReadConfig(OpenFS(fstest.MapFS{"config.json": jsonFile(t, smallConfig(changes))}, "m"))
}

func TestReadConfigDefaults(t *testing.T) {
	got, err := readChanged(t, nil)
	require.NoError(t, err)
	want := Config{
		Architecture: Llama, HiddenSize: 8, IntermediateSize: 12, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 2, VocabSize: 16,
		MaxPositions: 64, NormEps: 1e-6, RopeTheta: 10000, LayerWindow: []int{0, 0},
	}
	assert.Empty(t, cmp.Diff(want, got))
}

func TestReadConfigFields(t *testing.T) {
	qwen := func(changes object) object {
		maps.Copy(changes, object{"model_type": "qwen2", "num_hidden_layers": 4})
		return changes
	}
	llama3 := object{"factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 32}
	with := func(o object, key string, v any) object { o = maps.Clone(o); o[key] = v; return o }
	scaled := &RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 32}
	cases := []struct {
		name    string
		changes object
		got     func(Config) any
		want    any
	}{
		{"key heads default", object{"num_key_value_heads": absent}, func(c Config) any { return c.KVHeads }, 4},
		{"null head size", object{"head_dim": nil}, func(c Config) any { return c.HeadDim }, 2},
		{"own head size", object{"head_dim": 32}, func(c Config) any { return c.HeadDim }, 32},
		{"qwen3 head size", object{"model_type": "qwen3"}, func(c Config) any { return c.HeadDim }, 128},
		{"llama bias", object{"attention_bias": true, "mlp_bias": true}, func(c Config) any { return []bool{c.AttentionBias, c.OutputBias, c.MLPBias, c.QKNorm} }, []bool{true, true, true, false}},
		{"qwen2 bias", object{"model_type": "qwen2"}, func(c Config) any { return []bool{c.AttentionBias, c.OutputBias, c.MLPBias, c.QKNorm} }, []bool{true, false, false, false}},
		{"qwen3 bias", object{"model_type": "qwen3"}, func(c Config) any { return []bool{c.AttentionBias, c.OutputBias, c.MLPBias, c.QKNorm} }, []bool{false, false, false, true}},
		{"old dtype", object{"torch_dtype": "bfloat16"}, func(c Config) any { return c.DType }, BF16},
		{"new dtype", object{"dtype": "float16"}, func(c Config) any { return c.DType }, F16},
		{"one end", object{"eos_token_id": 3}, func(c Config) any { return c.EOS }, []int32{3}},
		{"several ends", object{"eos_token_id": []int{3, 5, 3}, "bos_token_id": 1}, func(c Config) any { return [][]int32{c.BOS, c.EOS} }, [][]int32{{1}, {3, 5}}},
		{"no end", object{"eos_token_id": nil}, func(c Config) any { return len(c.EOS) }, 0},

		{"old theta", object{"rope_theta": 5e5, "rope_scaling": nil}, func(c Config) any { return c.RopeTheta }, 5e5},
		{"new theta", object{"rope_parameters": object{"rope_theta": 1e6, "rope_type": "default"}}, func(c Config) any { return c.RopeTheta }, 1e6},
		{"new theta wins", object{"rope_theta": 7, "rope_parameters": object{"rope_theta": 1e6}}, func(c Config) any { return c.RopeTheta }, 1e6},
		{"old llama3", object{"rope_scaling": with(llama3, "rope_type", "llama3")}, func(c Config) any { return c.RopeScaling }, scaled},
		{"older llama3", object{"rope_scaling": with(llama3, "type", "llama3")}, func(c Config) any { return c.RopeScaling }, scaled},
		{"new llama3", object{"rope_parameters": with(llama3, "rope_type", "llama3")}, func(c Config) any { return c.RopeScaling }, scaled},
		{"linear", object{"rope_scaling": object{"type": "linear", "factor": 2}}, func(c Config) any { return c.RopeScaling }, &RopeScaling{Type: "linear", Factor: 2}},

		{"llama has no window", object{"sliding_window": 4}, func(c Config) any { return c.LayerWindow }, []int{0, 0}},
		{"mistral window", object{"model_type": "mistral", "sliding_window": 16}, func(c Config) any { return c.LayerWindow }, []int{16, 16}},
		{"mistral null", object{"model_type": "mistral", "sliding_window": nil}, func(c Config) any { return c.LayerWindow }, []int{0, 0}},
		{"mistral default", object{"model_type": "mistral"}, func(c Config) any { return c.SlidingWindow }, 4096},
		{"qwen unused", qwen(object{"sliding_window": 8, "max_window_layers": 1}), func(c Config) any { return c.SlidingWindow }, 0},
		{"qwen from a layer", qwen(object{"sliding_window": 8, "max_window_layers": 3, "use_sliding_window": true}), func(c Config) any { return c.LayerWindow }, []int{0, 0, 0, 8}},
		{"qwen beyond the last", qwen(object{"sliding_window": 8, "max_window_layers": 28, "use_sliding_window": true}), func(c Config) any { return c.SlidingWindow }, 0},
		{"qwen null", qwen(object{"sliding_window": nil, "max_window_layers": 0, "use_sliding_window": true}), func(c Config) any { return c.LayerWindow }, []int{0, 0, 0, 0}},
		{"qwen types", qwen(object{"sliding_window": 8, "use_sliding_window": true, "layer_types": []string{"sliding_attention", "full_attention", "sliding_attention", "full_attention"}}), func(c Config) any { return c.LayerWindow }, []int{8, 0, 8, 0}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config, err := readChanged(t, c.changes)
			require.NoError(t, err)
			assert.Equal(t, c.want, c.got(config))
		})
	}
}

func TestReadConfigErrors(t *testing.T) {
	file := filepath.Join("m", "config.json") + ": "
	llama3 := object{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 32}
	cases := []struct {
		changes object
		want    string
	}{
		{object{"model_type": "gemma2"}, `model_type is "gemma2", known are llama, mistral, qwen2, qwen3`},
		{object{"model_type": absent}, `model_type is absent, known are llama, mistral, qwen2, qwen3`},
		{object{"architectures": []string{"LlamaForSequenceClassification"}}, `architectures is ["LlamaForSequenceClassification"] with model_type "llama", known are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM`},
		{object{"hidden_size": absent}, `hidden_size is missing`},
		{object{"hidden_size": nil}, `hidden_size is missing`},
		{object{"num_hidden_layers": 0}, `num_hidden_layers is 0, want 1 to 4096`},
		{object{"num_attention_heads": -4}, `num_attention_heads is -4, want 1 to 4096`},
		{object{"vocab_size": 1 << 40}, `vocab_size is 1099511627776, want 1 to 16777216`},
		{object{"intermediate_size": "big"}, `intermediate_size is "big", want an integer`},
		{object{"max_position_embeddings": 1.5}, `max_position_embeddings is 1.5, want an integer`},
		{object{"num_key_value_heads": 3}, `num_attention_heads is 4, not a multiple of num_key_value_heads, 3`},
		{object{"num_attention_heads": 3, "num_key_value_heads": 3}, `hidden_size is 8, not a multiple of num_attention_heads, 3, and head_dim is missing`},
		{object{"head_dim": 7}, `the head size is 7, rotary positions need an even one`},
		{object{"head_dim": 0}, `head_dim is 0, want 1 to 4096`},
		{object{"rms_norm_eps": -1}, `rms_norm_eps is -1, want more than 0`},
		{object{"rms_norm_eps": 1}, `rms_norm_eps is 1, want less than 1`},
		{object{"tie_word_embeddings": 1}, `tie_word_embeddings is 1, want true or false`},
		{object{"hidden_act": "gelu"}, `hidden_act is "gelu", known is "silu"`},
		{object{"quantization_config": object{"quant_method": "gptq"}}, `quantization_config ("gptq") is not supported, only weights of F32, F16 and BF16`},
		{object{"torch_dtype": "int8"}, `dtype is "int8", known are float32, float16, bfloat16`},
		{object{"eos_token_id": 16}, `eos_token_id is 16, want 0 to 15`},
		{object{"eos_token_id": []int{1, -1}}, `eos_token_id has -1, want 0 to 15`},
		{object{"eos_token_id": "x"}, `eos_token_id is "x", want an integer`},
		{object{"rope_theta": 0}, `rope_theta is 0, want at least 1`},
		{object{"rope_scaling": object{"type": "yarn", "factor": 4}}, `rope_scaling: rope_type is "yarn", known are default, linear, llama3`},
		{object{"rope_scaling": object{"type": "linear"}}, `rope_scaling: factor is missing`},
		{object{"rope_scaling": []int{1}}, `rope_scaling is [1], want an object`},
		{object{"rope_parameters": object{"full_attention": object{}}}, `rope_parameters: values for each layer type are not supported`},
		{object{"rope_parameters": object{"partial_rotary_factor": 0.5}}, `rope_parameters: partial_rotary_factor is 0.5, known is 1`},
		{object{"rope_parameters": llama3}, `rope_parameters: high_freq_factor is 4, want more than low_freq_factor, 4`},
		{object{"model_type": "mistral", "sliding_window": -1}, `sliding_window is -1, want 1 to 1073741824`},
		{object{"model_type": "qwen3", "layer_types": []string{"full_attention"}}, `layer_types has 1 entries, num_hidden_layers is 2`},
		{object{"model_type": "qwen3", "layer_types": []string{"full_attention", "linear_attention"}}, `layer_types has "linear_attention", known are full_attention, sliding_attention`},
		{object{"model_type": "qwen3", "layer_types": []string{"full_attention", "sliding_attention"}}, `layer_types has sliding_attention, but there is no window (use_sliding_window is absent, sliding_window is absent)`},
	}
	for _, c := range cases {
		t.Run(c.want, func(t *testing.T) {
			_, err := readChanged(t, c.changes)
			require.EqualError(t, err, file+c.want)
		})
	}
}

func TestReadConfigFiles(t *testing.T) {
	read := func(files fstest.MapFS) (Config, error) { return ReadConfig(OpenFS(files, "m")) }
	config := jsonFile(t, smallConfig(object{"eos_token_id": 2, "bos_token_id": 1}))

	got, err := read(fstest.MapFS{"config.json": config, "generation_config.json": jsonFile(t, object{"eos_token_id": []int{5, 2}, "bos_token_id": 9})})
	require.NoError(t, err)
	assert.Equal(t, []int32{5, 2}, got.EOS, "generation_config.json wins")
	assert.Equal(t, []int32{1}, got.BOS)

	got, err = read(fstest.MapFS{"config.json": config, "generation_config.json": jsonFile(t, object{})})
	require.NoError(t, err)
	assert.Equal(t, []int32{2}, got.EOS)

	_, err = read(fstest.MapFS{"config.json": config, "generation_config.json": {Data: []byte("{")}})
	assert.ErrorContains(t, err, filepath.Join("m", "generation_config.json")+": not a JSON object: ")
	_, err = read(fstest.MapFS{"config.json": {Data: []byte("[]")}})
	assert.ErrorContains(t, err, filepath.Join("m", "config.json")+": not a JSON object: ")
	_, err = read(fstest.MapFS{"config.json": {Data: make([]byte, maxConfig+1)}})
	assert.EqualError(t, err, "read "+filepath.Join("m", "config.json")+": 16777217 bytes, at most 16777216 are read")
	_, err = read(fstest.MapFS{})
	assert.ErrorContains(t, err, filepath.Join("m", "config.json"))
}
