package virtualmod

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/weights"
)

type object = map[string]any

// small is the base of the adapters that tests make.
func small() weights.Config {
	return weights.Config{Architecture: weights.Llama, HiddenSize: 8, IntermediateSize: 12, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 4, VocabSize: 16}
}

// A made adapter: its configuration and its tensors by name.
type made struct {
	config  object
	tensors map[string][]int // shapes; the values are zeros
}

// adapterOf changes modules of small, all with one rank.
func adapterOf(rank int, modules ...string) made {
	m := made{object{"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}, map[string][]int{}}
	var targets []string
	for _, name := range modules {
		m.add(name, rank)
		if short := name[strings.LastIndex(name, ".")+1:]; !slices.Contains(targets, short) {
			targets = append(targets, short)
		}
	}
	m.config["target_modules"] = targets
	return m
}

func (m made) add(module string, rank int) {
	out, in := 8, 8
	if kind, found := kindOf(module); found {
		out, in = kind.Dims(small())
	}
	m.tensors["base_model.model."+module+".lora_A.weight"] = []int{rank, in}
	m.tensors["base_model.model."+module+".lora_B.weight"] = []int{out, rank}
}

func kindOf(module string) (engine.Module, bool) {
	for kind := range engine.Module(engine.Modules) {
		if strings.HasSuffix(module, kind.Path()) {
			return kind, true
		}
	}
	return 0, false
}

func (m made) folder(t *testing.T) weights.Folder {
	config, err := json.Marshal(m.config)
	require.NoError(t, err)
	return weights.OpenFS(fstest.MapFS{
		peftConfigFile: {Data: config},
		peftModelFile:  {Data: m.safetensors(t)},
	}, "adapters/mine")
}

func (m made) safetensors(t *testing.T) []byte {
	header, at := object{}, 0
	for _, name := range slices.Sorted(maps.Keys(m.tensors)) {
		size := 2
		for _, d := range m.tensors[name] {
			size *= d
		}
		header[name] = object{"dtype": "BF16", "shape": m.tensors[name], "data_offsets": []int{at, at + size}}
		at += size
	}
	text, err := json.Marshal(header)
	require.NoError(t, err)
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), make([]byte, at)...)
}

const (
	q0    = "model.layers.0.self_attn.q_proj"
	q1    = "model.layers.1.self_attn.q_proj"
	down0 = "model.layers.0.mlp.down_proj"
	down1 = "model.layers.1.mlp.down_proj"
)

func TestReadPEFTTargets(t *testing.T) {
	for _, targets := range []any{
		[]string{"q_proj", "down_proj"},
		[]string{"self_attn.q_proj", "mlp.down_proj", "q_proj"},
		[]string{q0, q1, down1},
		[]string{"0.self_attn.q_proj", "q_proj", "down_proj"},
		`.*\.(q|down)_proj`,
		`model\.layers\.\d+\.(?:self_attn|mlp)\.(?P<name>q_proj|down_proj)`,
		`(?!.*vision).*_proj`, // not Go's syntax
		"all-linear",
		"All-Linear",
		nil,
	} {
		m := adapterOf(4, q0, q1, down1)
		m.config["target_modules"] = targets
		a, err := ReadPEFT(m.folder(t), small())
		require.NoError(t, err, "%v", targets)
		assert.Equal(t, "mine", a.Name)
		assert.Len(t, a.Modules, 3)
	}
}

func TestReadPEFTLayersAndExclusion(t *testing.T) {
	for _, changes := range []object{
		{"layers_to_transform": []int{1}},
		{"layers_to_transform": 1, "layers_pattern": "layers"},
		{"layers_to_transform": 0, "target_modules": []string{q1, down1}}, // named in full
		{"exclude_modules": []string{q0, "layers.0.mlp.down_proj"}},
		{"exclude_modules": `.*\.0\..*`},
		{"target_modules": []string{"q_proj", "down_proj", "o_proj"}, "exclude_modules": []string{"o_proj"}},
		{},
	} {
		m := adapterOf(4, q1, down1)
		maps.Copy(m.config, changes)
		a, err := ReadPEFT(m.folder(t), small())
		require.NoError(t, err, "%v", changes)
		assert.Len(t, a.Modules, 2)
	}
}

func TestReadPEFTScales(t *testing.T) {
	cases := []struct {
		config string // rank and alpha fields, whose order counts
		ranks  map[string]int
		scales map[string]float64
	}{
		{`"r":4,"lora_alpha":6`, nil, map[string]float64{q0: 1.5, down1: 1.5}},
		{`"r":4,"lora_alpha":6,"use_rslora":true`, nil, map[string]float64{q0: 3}},
		{`"lora_alpha":2.5,"r":4`, nil, map[string]float64{q0: 0.625}},
		{`"r":4,"lora_alpha":4,"rank_pattern":{"layers.0.self_attn.q_proj":2,"q_proj":3}`, map[string]int{q0: 2, q1: 3}, map[string]float64{q0: 2, q1: 4.0 / 3, down0: 1}},
		{`"r":4,"lora_alpha":4,"rank_pattern":{"q_proj":3,"layers.0.self_attn.q_proj":2}`, map[string]int{q0: 3, q1: 3}, nil},
		{`"r":4,"lora_alpha":4,"rank_pattern":{"^model.layers.1.*":512}`, map[string]int{q1: 512, down1: 512}, map[string]float64{q0: 1, q1: 4.0 / 512}},
		{`"r":4,"lora_alpha":4,"rank_pattern":{"proj":1,"q_pro":1,"layers.0":1}`, nil, map[string]float64{q0: 1}},
		{`"r":4,"lora_alpha":4,"alpha_pattern":{"(?:q|k)_proj":8,"1.mlp.*":0}`, nil, map[string]float64{q0: 2, q1: 2, down0: 1, down1: 0}},
		{`"r":4,"lora_alpha":4,"alpha_pattern":{"(?=q).*":8}`, nil, map[string]float64{q0: 2, down0: 1}},
		{`"r":4,"use_rslora":true,"alpha_pattern":{"q_proj":16},"rank_pattern":{"q_proj":16}`, map[string]int{q0: 16, q1: 16}, map[string]float64{q0: 4, down0: 4}},
	}
	for _, c := range cases {
		t.Run(c.config, func(t *testing.T) {
			m := adapterOf(4, q0, q1, down0, down1)
			for module, rank := range c.ranks {
				m.add(module, rank)
			}
			folder := weights.OpenFS(fstest.MapFS{
				peftConfigFile: {Data: []byte(`{"peft_type":"LORA",` + c.config + `}`)},
				peftModelFile:  {Data: m.safetensors(t)},
			}, "x")
			a, err := ReadPEFT(folder, small())
			require.NoError(t, err)
			for _, m := range a.Modules {
				if want, ok := c.scales[m.name()]; ok {
					assert.Equal(t, want, m.Scale, m.name())
				}
				if want, ok := c.ranks[m.name()]; ok {
					assert.Equal(t, want, m.Rank, m.name())
				}
			}
		})
	}
}

func TestReadPEFTMagnitudeNames(t *testing.T) {
	for _, suffix := range []string{"", ".weight"} {
		m := adapterOf(4, down0)
		m.config["use_dora"] = true
		m.tensors["base_model.model."+down0+".lora_magnitude_vector"+suffix] = []int{8}
		a, err := ReadPEFT(m.folder(t), small())
		require.NoError(t, err)
		require.NotNil(t, a.Modules[0].Magnitude)
		assert.Equal(t, []int{8}, a.Modules[0].Magnitude.Shape)
		assert.Equal(t, 4*12+8*4+8, a.Info().Parameters)
		assert.Equal(t, 2*a.Info().Parameters, a.Info().Bytes)
	}
}

// Fields that describe training, its start, or other software do not matter.
func TestReadPEFTIgnores(t *testing.T) {
	m := adapterOf(4, q0)
	maps.Copy(m.config, object{
		"loftq_config": object{"loftq_bits": 4}, "eva_config": object{"rho": 2}, "corda_config": object{"cache_file": "x"}, "init_lora_weights": "gaussian",
		"megatron_config": object{"a": 1}, "megatron_core": "megatron.core", "lora_dropout": 0.1, "qalora_group_size": 16,
		"modules_to_save": []string{}, "layer_replication": nil, "fan_in_fan_out": false, "unheard_of": object{"x": 1},
		"trainable_token_indices": object{}, "velora_config": object{"rank": 1}, "rank_pattern": object{}, "alpha_pattern": nil,
	})
	_, err := ReadPEFT(m.folder(t), small())
	require.NoError(t, err)
}

func TestReadPEFTConfigErrors(t *testing.T) {
	cases := []struct {
		changes object
		want    string
	}{
		{object{"peft_type": "IA3"}, `peft_type is "IA3", known is "LORA"`},
		{object{"peft_type": nil}, `peft_type is absent, known is "LORA"`},
		{object{"r": 0}, `r is 0, want 1 to 512`},
		{object{"r": 513}, `r is 513, want 1 to 512`},
		{object{"r": "8"}, `r is "8", want an integer`},
		{object{"lora_alpha": []int{1}}, `lora_alpha is [1], want a number`},
		{object{"bias": "all"}, `bias is "all", known is "none"`},
		{object{"modules_to_save": []string{"lm_head"}}, `modules_to_save is ["lm_head"]: this is not supported`},
		{object{"lora_bias": true}, `lora_bias is true: this is not supported`},
		{object{"trainable_token_indices": []int{1, 2}}, `trainable_token_indices is [1,2]: this is not supported`},
		{object{"target_parameters": []string{"x"}}, `target_parameters is ["x"]: this is not supported`},
		{object{"layer_replication": [][]int{{0, 1}}}, `layer_replication is [[0,1]]: this is not supported`},
		{object{"fan_in_fan_out": true}, `fan_in_fan_out is true: this is not supported`},
		{object{"use_qalora": true}, `use_qalora is true: this is not supported`},
		{object{"use_bdlora": object{"nblocks": 2}}, `use_bdlora is an object: this is not supported`},
		{object{"alora_invocation_tokens": []int{7}}, `alora_invocation_tokens is [7]: this is not supported`},
		{object{"arrow_config": object{"top_k": 3}}, `arrow_config is an object: this is not supported`},
		{object{"kasa_config": object{"beta": 3}}, `kasa_config is an object: this is not supported`},
		{object{"monteclora_config": object{"n": 3}}, `monteclora_config is an object: this is not supported`},
		{object{"init_lora_weights": "pissa_niter_16"}, `init_lora_weights is "pissa_niter_16", which changes the base too: convert the adapter to plain LoRA`},
		{object{"init_lora_weights": "OLoRA"}, `init_lora_weights is "OLoRA", which changes the base too: convert the adapter to plain LoRA`},
		{object{"rank_pattern": object{"q_proj": 1.5}}, `rank_pattern: "q_proj" has rank 1.5, want 1 to 512`},
		{object{"rank_pattern": object{"q_proj": 1000}}, `rank_pattern: "q_proj" has rank 1000, want 1 to 512`},
		{object{"rank_pattern": []int{1}}, `rank_pattern is [1], want an object`},
		{object{"alpha_pattern": object{"q_proj": nil}}, `alpha_pattern: the value of "q_proj" is not a number`},
		{object{"alpha_pattern": object{"q_(proj": 1}}, `alpha_pattern: the pattern "q_(proj" is not a regular expression`},
		{object{"target_modules": "q_[proj"}, `target_modules: the pattern "q_[proj" is not a regular expression`},
		{object{"target_modules": 3}, `target_modules is 3, want a string`},
		{object{"target_modules": []int{3}}, `target_modules is [3], want a list of strings`},
		{object{"target_modules": []string{"q_proj", "v_proj"}}, `target_modules names "v_proj", but adapter_model.safetensors has no tensors of it`},
		{object{"target_modules": []string{"q_proj", "c_attn"}}, `target_modules names "c_attn", but adapter_model.safetensors has no tensors of it`},
		{object{"target_modules": []string{"q_proj", "lm_head"}}, `target_modules names "lm_head": adapters of embed_tokens and lm_head are not supported`},
		{object{"target_modules": []string{"v_proj"}}, `adapter_model.safetensors has tensors of model.layers.0.self_attn.q_proj, which is not a target: target_modules is ["v_proj"], exclude_modules is absent, layers_to_transform is absent`},
		{object{"target_modules": []string{}}, `adapter_model.safetensors has tensors of model.layers.0.self_attn.q_proj, which is not a target: target_modules is [], exclude_modules is absent, layers_to_transform is absent`},
		{object{"target_modules": "q_proj"}, `adapter_model.safetensors has tensors of model.layers.0.self_attn.q_proj, which is not a target: target_modules is "q_proj", exclude_modules is absent, layers_to_transform is absent`},
		{object{"exclude_modules": []string{"q_proj"}}, `adapter_model.safetensors has tensors of model.layers.0.self_attn.q_proj, which is not a target: target_modules is ["q_proj"], exclude_modules is ["q_proj"], layers_to_transform is absent`},
		{object{"layers_to_transform": 1}, `adapter_model.safetensors has tensors of model.layers.0.self_attn.q_proj, which is not a target: target_modules is ["q_proj"], exclude_modules is absent, layers_to_transform is 1`},
	}
	for _, c := range cases {
		t.Run(c.want, func(t *testing.T) {
			m := adapterOf(4, q0)
			maps.Copy(m.config, c.changes)
			_, err := ReadPEFT(m.folder(t), small())
			require.EqualError(t, err, filepath.Join("adapters", "mine", peftConfigFile)+": "+c.want)
		})
	}
}

func TestReadPEFTTensorErrors(t *testing.T) {
	const prefix = "base_model.model."
	cases := []struct {
		name   string
		change func(m made)
		want   string
	}{
		{"rank of A", func(m made) { m.config["r"] = 8 }, `tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" has rank 4, adapter_config.json gives 8`},
		{"rank of B", func(m made) { m.tensors[prefix+q0+".lora_B.weight"] = []int{8, 3} }, `tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight" has rank 3, adapter_config.json gives 4`},
		{"another base", func(m made) { m.tensors[prefix+q0+".lora_A.weight"] = []int{4, 64} }, `adapter of another base: FILE: tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" has shape [4 64], its module in the base has [4 8]`},
		{"another base, B", func(m made) { m.tensors[prefix+q0+".lora_B.weight"] = []int{64, 4} }, `adapter of another base: FILE: tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight" has shape [64 4], its module in the base has [8 4]`},
		{"no matrix", func(m made) { m.tensors[prefix+q0+".lora_B.weight"] = []int{32} }, `adapter of another base: FILE: tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight" has shape [32], its module in the base has [8 4]`},
		{"layer", func(m made) { m.add("model.layers.7.self_attn.q_proj", 4) }, `tensor "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": layer 7, but the base has 2: an adapter of another base`},
		{"layer's number", func(m made) { m.add("model.layers.01.self_attn.q_proj", 4) }, `tensor "base_model.model.model.layers.01.self_attn.q_proj.lora_A.weight": no module "model.layers.01.self_attn.q_proj" in a base of family llama`},
		{"module", func(m made) { m.add("model.layers.0.self_attn.c_attn", 4) }, `tensor "base_model.model.model.layers.0.self_attn.c_attn.lora_A.weight": no module "model.layers.0.self_attn.c_attn" in a base of family llama`},
		{"head", func(m made) { m.add("lm_head", 4) }, `tensor "base_model.model.lm_head.lora_A.weight": adapters of embed_tokens and lm_head are not supported`},
		{"embedding", func(m made) { m.tensors[prefix+"model.embed_tokens.lora_embedding_A"] = []int{4, 16} }, `tensor "base_model.model.model.embed_tokens.lora_embedding_A": adapters of embed_tokens and lm_head are not supported`},
		{"unknown", func(m made) { m.tensors[prefix+"score.weight"] = []int{2, 8} }, `tensor "base_model.model.score.weight" is not a LoRA tensor: want base_model.model.<module> with .lora_A.weight, .lora_B.weight or .lora_magnitude_vector`},
		{"no prefix", func(m made) { m.tensors[q1+".lora_A.weight"] = []int{4, 8} }, `tensor "model.layers.1.self_attn.q_proj.lora_A.weight" is not a LoRA tensor: want base_model.model.<module> with .lora_A.weight, .lora_B.weight or .lora_magnitude_vector`},
		{"bias of B", func(m made) { m.tensors[prefix+q0+".lora_B.bias"] = []int{8} }, `tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias" is not a LoRA tensor: want base_model.model.<module> with .lora_A.weight, .lora_B.weight or .lora_magnitude_vector`},
		{"no B", func(m made) { delete(m.tensors, prefix+q0+".lora_B.weight") }, `tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight" is missing`},
		{"no A", func(m made) { delete(m.tensors, prefix+q0+".lora_A.weight") }, `tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" is missing`},
		{"no magnitude", func(m made) { m.config["use_dora"] = true }, `tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector" is missing`},
		{"unasked magnitude", func(m made) { m.tensors[prefix+q0+".lora_magnitude_vector"] = []int{8} }, `tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector" is a magnitude, but use_dora is not true`},
		{"magnitude's shape", func(m made) {
			m.config["use_dora"] = true
			m.tensors[prefix+q0+".lora_magnitude_vector"] = []int{9}
		}, `adapter of another base: FILE: tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector" has shape [9], its module in the base has [8]`},
		{"two magnitudes", func(m made) {
			m.config["use_dora"] = true
			m.tensors[prefix+q0+".lora_magnitude_vector"] = []int{8}
			m.tensors[prefix+q0+".lora_magnitude_vector.weight"] = []int{8}
		}, `tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight" is there under two names`},
		{"nothing", func(m made) { clear(m.tensors) }, `FILE has no tensors`},
	}
	file := filepath.Join("adapters", "mine", peftModelFile)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := adapterOf(4, q0)
			c.change(m)
			_, err := ReadPEFT(m.folder(t), small())
			require.Error(t, err)
			want := strings.ReplaceAll(c.want, "FILE", file)
			if want == c.want {
				want = file + ": " + want
			}
			assert.Equal(t, want, err.Error())
		})
	}
}

// An expression that backtracks without end is an error, soon.
func TestReadPEFTEndlessPattern(t *testing.T) {
	m := adapterOf(4, q0)
	m.config["target_modules"] = `(?!x)(([a-z0-9_.]+)+)+!`
	_, err := ReadPEFT(m.folder(t), small())
	require.ErrorContains(t, err, `the pattern "(?!x)(([a-z0-9_.]+)+)+!" takes too much time or memory to match "`+q0+`"`)
}

func TestReadPEFTFiles(t *testing.T) {
	m := adapterOf(4, q0)
	config, err := json.Marshal(m.config)
	require.NoError(t, err)
	read := func(files fstest.MapFS) error {
		_, err := ReadPEFT(weights.OpenFS(files, "x"), small())
		return err
	}
	assert.ErrorContains(t, read(fstest.MapFS{peftModelFile: {Data: m.safetensors(t)}}), peftConfigFile)
	assert.ErrorContains(t, read(fstest.MapFS{peftConfigFile: {Data: config}}), peftModelFile)
	assert.ErrorContains(t, read(fstest.MapFS{peftConfigFile: {Data: config[:9]}}), filepath.Join("x", peftConfigFile)+": not a JSON object")
	cut := m.safetensors(t)
	cut = cut[:len(cut)-1]
	assert.ErrorContains(t, read(fstest.MapFS{peftConfigFile: {Data: config}, peftModelFile: {Data: cut}}), filepath.Join("x", peftModelFile)+`: tensor "base_model`)
}

func TestEveryRank(t *testing.T) {
	for rank := 1; rank <= MaxRank; rank++ {
		m := adapterOf(rank, q0)
		m.config["use_rslora"] = true
		a, err := ReadPEFT(m.folder(t), small())
		require.NoError(t, err)
		assert.Equal(t, rank, a.Modules[0].Rank)
		assert.InDelta(t, 2*math.Sqrt(float64(rank)), a.Modules[0].Scale, 1e-12)
	}
}

func TestModuleKind(t *testing.T) {
	for kind := range engine.Module(engine.Modules) {
		assert.Equal(t, allKinds[kind], kind.String())
	}
}
