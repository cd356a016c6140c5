package weights

import "strings"

// Random says what a tensor without data is filled with: numbers of a mean and
// a deviation that follow from a seed.
type Random struct {
	Seed            uint32
	Mean, Deviation float32
}

// deviation is that of the matrices and biases of a random model, as models are
// initialized before training. Behind a norm a product's results are then about one.
const deviation = 0.02

// NewRandom is a checkpoint of a configuration without files, for benchmarks:
// norms of ones, all else random. Its tensors of a type have no Data; whoever
// puts them on a device makes their numbers there.
func NewRandom(config Config, dtype DType) *Checkpoint {
	c := &Checkpoint{Config: config, tensors: map[string]Tensor{}}
	for i, spec := range config.Tensors() {
		from := &Random{Seed: uint32(i), Deviation: deviation}
		if strings.HasSuffix(spec.Name, "norm.weight") {
			from = &Random{Mean: 1}
		}
		c.tensors[spec.Name] = Tensor{Name: spec.Name, DType: dtype, Shape: spec.Shape, Random: from, File: "random weights"}
	}
	return c
}
