package weights

// shape is a model's configuration under a short name.
type shape struct {
	name   string
	config Config
}

// shapes are those of models that benchmarks are about.
func shapes() []shape {
	llama3 := func(factor float64) *RopeScaling {
		return &RopeScaling{Type: "llama3", Factor: factor, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositions: 8192}
	}
	return []shape{
		{"8b", Config{ // Llama 3.1 8B
			Architecture: Llama, HiddenSize: 4096, IntermediateSize: 14336, Layers: 32, Heads: 32, KVHeads: 8, HeadDim: 128,
			VocabSize: 128256, MaxPositions: 131072, NormEps: 1e-5, RopeTheta: 500000, RopeScaling: llama3(8),
		}},
		{"1b", Config{ // Llama 3.2 1B, but with an output matrix of its own
			Architecture: Llama, HiddenSize: 2048, IntermediateSize: 8192, Layers: 16, Heads: 32, KVHeads: 8, HeadDim: 64,
			VocabSize: 128256, MaxPositions: 131072, NormEps: 1e-5, RopeTheta: 500000, RopeScaling: llama3(32),
		}},
		{"qwen3-1.7b", Config{
			Architecture: Qwen3, HiddenSize: 2048, IntermediateSize: 6144, Layers: 28, Heads: 16, KVHeads: 8, HeadDim: 128,
			VocabSize: 151936, MaxPositions: 40960, NormEps: 1e-6, RopeTheta: 1000000, Tied: true, QKNorm: true,
		}},
		{"stories", Config{ // the embedded model
			Architecture: Llama, HiddenSize: 192, IntermediateSize: 512, Layers: 6, Heads: 6, KVHeads: 2, HeadDim: 32,
			VocabSize: 2048, MaxPositions: 1024, NormEps: 1e-5, RopeTheta: 10000, Tied: true,
		}},
	}
}

// Shapes lists the names that Shape knows.
func Shapes() []string {
	var names []string
	for _, s := range shapes() {
		names = append(names, s.name)
	}
	return names
}

// Shape is the configuration of a well-known model's shape, without tokens.
func Shape(name string) (Config, bool) {
	for _, s := range shapes() {
		if s.name == name {
			return s.config, true
		}
	}
	return Config{}, false
}
