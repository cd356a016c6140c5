package weights

import "fmt"

// A Spec is a tensor that a model of some configuration must have.
type Spec struct {
	Name  string
	Shape []int
}

// Tensors lists the tensors the model needs, by Hugging Face's names, from the
// embedding to the output matrix, layer by layer. A matrix is [out, in]. A model
// with tied embeddings needs no output matrix.
func (c Config) Tensors() []Spec {
	specs := []Spec{{"model.embed_tokens.weight", []int{c.VocabSize, c.HiddenSize}}}
	for i := range c.Layers {
		specs = append(specs, c.layerTensors(fmt.Sprintf("model.layers.%d.", i))...)
	}
	specs = append(specs, Spec{"model.norm.weight", []int{c.HiddenSize}})
	if !c.Tied {
		specs = append(specs, Spec{"lm_head.weight", []int{c.VocabSize, c.HiddenSize}})
	}
	return specs
}

func (c Config) layerTensors(prefix string) []Spec {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	specs := []Spec{{prefix + "input_layernorm.weight", []int{c.HiddenSize}}}
	matrix := func(name string, out, in int, bias bool) {
		specs = append(specs, Spec{prefix + name + ".weight", []int{out, in}})
		if bias {
			specs = append(specs, Spec{prefix + name + ".bias", []int{out}})
		}
	}
	matrix("self_attn.q_proj", q, c.HiddenSize, c.AttentionBias)
	matrix("self_attn.k_proj", kv, c.HiddenSize, c.AttentionBias)
	matrix("self_attn.v_proj", kv, c.HiddenSize, c.AttentionBias)
	if c.QKNorm {
		specs = append(specs,
			Spec{prefix + "self_attn.q_norm.weight", []int{c.HeadDim}},
			Spec{prefix + "self_attn.k_norm.weight", []int{c.HeadDim}})
	}
	matrix("self_attn.o_proj", c.HiddenSize, q, c.OutputBias)
	specs = append(specs, Spec{prefix + "post_attention_layernorm.weight", []int{c.HiddenSize}})
	matrix("mlp.gate_proj", c.IntermediateSize, c.HiddenSize, c.MLPBias)
	matrix("mlp.up_proj", c.IntermediateSize, c.HiddenSize, c.MLPBias)
	matrix("mlp.down_proj", c.HiddenSize, c.IntermediateSize, c.MLPBias)
	return specs
}
