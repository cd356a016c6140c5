package virtualmod

import (
	"fmt"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// maxInspectLayers bounds the layers of a base that is not at hand.
const maxInspectLayers = 4096

// InspectPEFT reads an adapter as ReadPEFT does, but without its base: the
// sizes of the base are those that the adapter's own tensors have. Errors name
// the first tensor that disagrees with the others.
func InspectPEFT(folder weights.Folder) (*Adapter, error) {
	tensors, err := weights.ReadTensors(folder, peftModelFile)
	if err != nil {
		return nil, err
	}
	base := weights.Config{Architecture: weights.Llama, Layers: maxInspectLayers, HeadDim: 1}
	layers := 0
	for _, t := range tensors {
		layer, kind, part, err := parseTensorName(t.Name, base)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.File, err)
		}
		layers = max(layers, layer+1)
		if err := learn(&base, kind, part, t); err != nil {
			return nil, err
		}
	}
	base.Layers = layers
	return ReadPEFT(folder, base)
}

// learn takes the sizes of a base from one tensor; sizes that are known stay,
// for ReadPEFT to compare.
func learn(base *weights.Config, kind engine.Module, part string, t weights.Tensor) error {
	in, out := sizes(base, kind)
	want, size, at := 2, in, 1 // A is [rank, in]
	switch part {
	case partB: // [out, rank]
		size, at = out, 0
	case partMagnitude: // [out]
		want, size, at = 1, out, 0
	}
	if len(t.Shape) != want {
		return fmt.Errorf("%s: tensor %q has shape %v, want %d dimensions", t.File, t.Name, t.Shape, want)
	}
	if *size == 0 {
		*size = t.Shape[at]
	}
	return nil
}

// sizes are the fields of a configuration that give a module's input and
// output; heads count as many sizes, for HeadDim is 1.
func sizes(c *weights.Config, kind engine.Module) (in, out *int) {
	switch kind {
	case engine.QProj:
		return &c.HiddenSize, &c.Heads
	case engine.KProj, engine.VProj:
		return &c.HiddenSize, &c.KVHeads
	case engine.OProj:
		return &c.Heads, &c.HiddenSize
	case engine.DownProj:
		return &c.IntermediateSize, &c.HiddenSize
	}
	return &c.HiddenSize, &c.IntermediateSize
}
