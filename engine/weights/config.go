package weights

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// An Architecture is a family of models that share a forward pass: decoders of
// RMSNorm, grouped-query attention with rotary positions, and a gated SiLU MLP.
type Architecture string

const (
	Llama   Architecture = "llama"
	Mistral Architecture = "mistral"
	Qwen2   Architecture = "qwen2"
	Qwen3   Architecture = "qwen3"
)

// class is the name config.json's architectures has for the family.
func (a Architecture) class() string {
	switch a {
	case Llama:
		return "LlamaForCausalLM"
	case Mistral:
		return "MistralForCausalLM"
	case Qwen2:
		return "Qwen2ForCausalLM"
	case Qwen3:
		return "Qwen3ForCausalLM"
	}
	return ""
}

// architectures lists every family.
func architectures() []Architecture { return []Architecture{Llama, Mistral, Qwen2, Qwen3} }

// Config is what a model folder says about its model.
type Config struct {
	Architecture     Architecture
	HiddenSize       int // width of the residual stream
	IntermediateSize int // width inside the MLP
	Layers           int
	Heads            int // query heads
	KVHeads          int // key and value heads; divides Heads
	HeadDim          int // even; Heads*HeadDim need not be HiddenSize
	VocabSize        int
	MaxPositions     int // the longest sequence the model was made for
	NormEps          float64
	RopeTheta        float64
	RopeScaling      *RopeScaling // nil where positions are not scaled
	Tied             bool         // the output matrix is the embedding
	AttentionBias    bool         // q, k and v projections have a bias
	OutputBias       bool         // the attention's output projection has one
	MLPBias          bool         // gate, up and down projections have one
	QKNorm           bool         // q and k heads are normalized before rotation
	SlidingWindow    int          // positions a windowed layer sees, its own included; 0: no layer is windowed
	LayerWindow      []int        // the same for each layer; 0: all positions before it
	BOS              []int32      // token ids; empty where the folder names none
	EOS              []int32      // token ids that end a generation
	DType            DType        // the type the weights are said to have; the zero value where it is not said
}

// Limits beyond which a size is taken for a corrupt file. Products of any two
// stay far within an int.
const (
	maxWidth     = 1 << 20
	maxLayers    = 4096
	maxHeads     = 4096
	maxHeadDim   = 4096
	maxVocab     = 1 << 24
	maxPositions = 1 << 30
	maxTokens    = 1024 // token ids that end a generation
)

// ReadConfig reads config.json and, where the folder has one,
// generation_config.json: if that names ids that end a generation, they replace
// config.json's. Errors name the file, the field and its value.
func ReadConfig(folder Folder) (Config, error) {
	f, err := ReadFields(folder, "config.json")
	if err != nil {
		return Config{}, err
	}
	c := parseConfig(f)
	if err := f.Err(); err != nil {
		return Config{}, err
	}
	g, err := ReadFields(folder, "generation_config.json")
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return Config{}, err
	}
	c.parseTokens(g)
	return c, g.Err()
}

func parseConfig(f *Fields) Config {
	c := Config{Architecture: parseArchitecture(f)}
	refuseUnsupported(f)
	c.parseSizes(f)
	if f.Err() != nil {
		return c // what follows divides by the sizes
	}
	c.parseHeads(f)
	c.parseFeatures(f)
	c.parseRope(f)
	c.parseWindows(f)
	c.parseTokens(f)
	c.parseDType(f)
	return c
}

// parseArchitecture goes by model_type and checks that architectures agrees: a
// classifier, say, has the model_type of the model that it is made from.
func parseArchitecture(f *Fields) Architecture {
	a := Architecture(f.Text("model_type", ""))
	classes := f.Texts("architectures", 16)
	if f.Err() == nil && !slices.Contains(architectures(), a) {
		f.Fail("model_type is %s, known are %s", f.Show("model_type"), known(func(a Architecture) string { return string(a) }))
	}
	if len(classes) > 0 && !slices.Contains(classes, a.class()) {
		f.Fail("architectures is %s with model_type %q, known are %s", f.Show("architectures"), a, known(Architecture.class))
	}
	return a
}

func known(name func(Architecture) string) string {
	var names []string
	for _, a := range architectures() {
		names = append(names, name(a))
	}
	return strings.Join(names, ", ")
}

func refuseUnsupported(f *Fields) {
	for _, name := range []string{"quantization_config", "compression_config"} {
		if q := f.Object(name); q != nil {
			f.Fail("%s (%s) is not supported, only weights of %s", name, quote(q.Text("quant_method", "no quant_method")), supported)
		}
	}
	if act := f.Text("hidden_act", "silu"); act != "silu" {
		f.Fail("hidden_act is %s, known is \"silu\"", quote(act))
	}
}

func (c *Config) parseSizes(f *Fields) {
	c.HiddenSize = f.NeedInt("hidden_size", 1, maxWidth)
	c.IntermediateSize = f.NeedInt("intermediate_size", 1, maxWidth)
	c.Layers = f.NeedInt("num_hidden_layers", 1, maxLayers)
	c.Heads = f.NeedInt("num_attention_heads", 1, maxHeads)
	c.VocabSize = f.NeedInt("vocab_size", 1, maxVocab)
	c.MaxPositions = f.NeedInt("max_position_embeddings", 1, maxPositions)
}

// parseHeads fills in what files may leave out the way transformers does.
func (c *Config) parseHeads(f *Fields) {
	c.KVHeads = f.Int("num_key_value_heads", c.Heads, 1, maxHeads)
	if c.Heads%c.KVHeads != 0 {
		f.Fail("num_attention_heads is %d, not a multiple of num_key_value_heads, %d", c.Heads, c.KVHeads)
	}
	fallback := c.HiddenSize / c.Heads
	if c.Architecture == Qwen3 {
		fallback = 128
	} else if !f.Has("head_dim") && c.HiddenSize%c.Heads != 0 {
		f.Fail("hidden_size is %d, not a multiple of num_attention_heads, %d, and head_dim is missing", c.HiddenSize, c.Heads)
	}
	c.HeadDim = f.Int("head_dim", fallback, 1, maxHeadDim)
	if c.HeadDim%2 != 0 {
		f.Fail("the head size is %d, rotary positions need an even one", c.HeadDim)
	}
}

func (c *Config) parseFeatures(f *Fields) {
	c.NormEps = f.Positive("rms_norm_eps", 1e-6)
	if c.NormEps >= 1 {
		f.Fail("rms_norm_eps is %v, want less than 1", c.NormEps)
	}
	c.Tied = f.Bool("tie_word_embeddings", false)
	switch c.Architecture {
	case Llama:
		c.AttentionBias = f.Bool("attention_bias", false)
		c.OutputBias = c.AttentionBias
		c.MLPBias = f.Bool("mlp_bias", false)
	case Qwen2:
		c.AttentionBias = true
	case Qwen3:
		c.AttentionBias = f.Bool("attention_bias", false)
		c.OutputBias = c.AttentionBias
		c.QKNorm = true
	}
}

// parseWindows finds which layers see a window only. Mistral's all do where
// sliding_window is a number. Qwen's do where use_sliding_window is true as
// well, from max_window_layers on or as layer_types lists.
func (c *Config) parseWindows(f *Fields) {
	c.LayerWindow = make([]int, c.Layers)
	window, first := 0, 0 // first layer with a window
	switch c.Architecture {
	case Mistral:
		window = parseWindow(f)
	case Qwen2, Qwen3:
		if f.Bool("use_sliding_window", false) {
			window = parseWindow(f)
			first = f.Int("max_window_layers", 28, 0, maxPositions)
		}
		if f.Has("layer_types") {
			c.parseLayerTypes(f, window)
			return
		}
	}
	for i := first; i < c.Layers; i++ {
		c.setWindow(i, window)
	}
}

// parseWindow tells null, which is no window, from absent, which is
// transformers' default.
func parseWindow(f *Fields) int {
	if _, there := f.raw["sliding_window"]; !there {
		return 4096
	}
	return f.Int("sliding_window", 0, 1, maxPositions)
}

func (c *Config) setWindow(layer, window int) {
	c.LayerWindow[layer], c.SlidingWindow = window, window
}

func (c *Config) parseLayerTypes(f *Fields, window int) {
	types := f.Texts("layer_types", maxLayers)
	if len(types) != c.Layers {
		f.Fail("layer_types has %d entries, num_hidden_layers is %d", len(types), c.Layers)
		return
	}
	for i, t := range types {
		switch {
		case t == "full_attention":
		case t != "sliding_attention":
			f.Fail("layer_types has %s, known are full_attention, sliding_attention", quote(t))
		case window == 0:
			f.Fail("layer_types has sliding_attention, but there is no window (use_sliding_window is %s, sliding_window is %s)",
				f.Show("use_sliding_window"), f.Show("sliding_window"))
		default:
			c.setWindow(i, window)
		}
	}
}

// parseTokens takes the ids a file names; those it does not name stay.
func (c *Config) parseTokens(f *Fields) {
	if f.Has("bos_token_id") && len(c.BOS) == 0 {
		c.BOS = c.tokens(f, "bos_token_id")
	}
	if f.Has("eos_token_id") {
		c.EOS = c.tokens(f, "eos_token_id")
	}
}

func (c *Config) tokens(f *Fields, name string) []int32 {
	var ids []int32
	for _, id := range f.Ints(name, maxTokens, c.VocabSize-1) {
		if !slices.Contains(ids, int32(id)) {
			ids = append(ids, int32(id))
		}
	}
	return ids
}

func (c *Config) parseDType(f *Fields) {
	name := f.Text("dtype", f.Text("torch_dtype", ""))
	switch strings.TrimPrefix(name, "torch.") {
	case "":
	case "float32":
		c.DType = F32
	case "float16":
		c.DType = F16
	case "bfloat16":
		c.DType = BF16
	default:
		f.Fail("dtype is %s, known are float32, float16, bfloat16", quote(name))
	}
}
