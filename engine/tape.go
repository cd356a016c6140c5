package engine

import (
	"slices"

	"loquetier/engine/vk"
)

// Recompute says which layers' activations are computed again for the
// backward pass instead of being kept from the forward pass.
type Recompute uint8

// Choices.
const (
	RecomputeAuto Recompute = iota // as few layers as the device's free memory allows
	RecomputeAlways
	RecomputeNever
)

// tape is what the backward pass finds of the forward pass, and its room to
// work in. There are TrainRows rows of each. What a slice finds has not been touched by
// the steps since the forward pass.
type tape struct {
	tables  vk.Buffer     // those of the step with the forward pass; grown
	inputs  []vk.Buffer   // by layer: [rows, hidden] float32, the residual stream before it
	middles []vk.Buffer   // by layer that is not recomputed: the residual stream after its attention
	kept    []activations // of the last layers, as many as fit: parts of stores
	stores  []activations // each of some layers, but for those that grow
	from    int           // the first layer of which they are kept

	residual vk.Buffer // [rows, hidden] float32: the residual stream when recomputed
	dx       vk.Buffer // [rows, hidden] float32: gradient of the residual stream
	dxCopy   vk.Buffer // [rows, hidden]: the same, where the activation type is another
	dh       vk.Buffer // [rows, hidden] float32: gradient of a norm's output
	dff      vk.Buffer // [rows, intermediate] float32
	datt     vk.Buffer // [rows, heads * size] float32
	delta    vk.Buffer // [rows, heads] float32: attention's output times its gradient
	turned   vk.Buffer // [rows, q + shares of k and of v] float32: gradients of rotated q, k and of v
	dqkv     vk.Buffer // [rows, q + k + v]
	dlogits  vk.Buffer // [logitRows, vocab, rounded up to a multiple of 4]
	dhl      vk.Buffer // [logitRows, hidden] float32
	u        vk.Buffer // the shrinks' gradients; grown
	partials vk.Buffer // of the gradients' norms; grown
}

// workSizes lists the backward pass's room to work in.
func (e *Engine) workSizes() []sized {
	c, t, n, act := e.checkpointConfig, &e.tape, e.config.TrainRows, e.precision.Act.Size()
	q, qkv := c.Heads*c.HeadDim, (c.Heads+2*c.KVHeads)*c.HeadDim
	list := []sized{
		{&t.dx, 4 * n * c.HiddenSize}, {&t.dh, 4 * n * c.HiddenSize},
		{&t.dff, 4 * n * c.IntermediateSize}, {&t.datt, 4 * n * q}, {&t.delta, 4 * n * c.Heads},
		{&t.turned, e.kernels.attentionGradBytes(e.heads(), n)}, {&t.dqkv, act * n * qkv},
		{&t.dlogits, act * e.logitRows() * quadded(c.VocabSize)}, {&t.dhl, 4 * e.logitRows() * c.HiddenSize},
	}
	if act != 4 {
		list = append(list, sized{&t.dxCopy, act * n * c.HiddenSize})
	}
	return list
}

// recomputeSizes lists what is needed beside where layers are recomputed.
func (e *Engine) recomputeSizes() []sized {
	return append([]sized{{&e.tape.residual, 4 * e.config.TrainRows * e.checkpointConfig.HiddenSize}},
		times(e.config.TrainRows, e.recordWidths(&e.arena.shared))...)
}

// inputSizes lists the layers' inputs.
func (e *Engine) inputSizes() []sized {
	t := &e.tape
	t.inputs = make([]vk.Buffer, e.checkpointConfig.Layers)
	return e.residuals(t.inputs)
}

// keptSizes lists what the last n layers keep.
func (e *Engine) keptSizes(n int) []sized {
	t, together := &e.tape, e.storeLayers()
	t.kept, t.middles, t.from = make([]activations, n), make([]vk.Buffer, n), e.checkpointConfig.Layers-n
	t.stores = make([]activations, ceil(n, together))
	list := e.residuals(t.middles)
	for i := range t.stores {
		layers := min(together, n-i*together)
		for _, b := range e.keptWidths(&t.stores[i]) {
			list = append(list, sized{b.to, (layers-1)*e.keptStride(b.size) + e.config.MaxRows*b.size})
		}
	}
	return list
}

// storeLayers is the number of layers whose activations lie in one store: as
// many as one buffer has room for.
func (e *Engine) storeLayers() int {
	layers := e.checkpointConfig.Layers
	for _, b := range e.keptWidths(&activations{}) {
		beside := (e.config.Store - e.config.MaxRows*b.size) / e.keptStride(b.size)
		layers = min(layers, 1+max(0, beside))
	}
	return layers
}

// keptWidths lists what a layer keeps beside the residual stream, with the bytes of a row.
func (e *Engine) keptWidths(a *activations) []sized {
	return append(e.activationWidths(a), e.recordWidths(a)...)
}

// keptStride is how many bytes a layer's activations lie behind those of the layer
// before it, where a row has so many. Only training rows, which are the first of a step,
// are kept; the others lie where the next layers' will be, which are computed later, or behind the last.
func (e *Engine) keptStride(width int) int {
	const aligned = 256
	return ceil(e.config.TrainRows*width, aligned) * aligned
}

// divideStores gives the kept layers their parts of the stores.
func (e *Engine) divideStores() {
	together := e.storeLayers()
	for i := range e.tape.kept {
		store := e.keptWidths(&e.tape.stores[i/together])
		for j, b := range e.keptWidths(&e.tape.kept[i]) {
			*b.to = store[j].to.From(uint64(i % together * e.keptStride(b.size)))
		}
	}
}

func (e *Engine) residuals(buffers []vk.Buffer) []sized {
	var list []sized
	for i := range buffers {
		list = append(list, sized{&buffers[i], 4 * e.config.TrainRows * e.checkpointConfig.HiddenSize})
	}
	return list
}

// allocTape allocates the training side of the plan.
func (e *Engine) allocTape(m Memory) error {
	if e.config.TrainRows == 0 {
		return nil
	}
	work := e.workSizes()
	if m.KeptLayers < e.checkpointConfig.Layers {
		work = append(work, e.recomputeSizes()...)
	}
	if err := firstError(
		e.allocSized("inputs of layers", e.inputSizes()),
		e.allocSized("kept activations", e.keptSizes(m.KeptLayers)),
		e.allocSized("gradients of activations", work)); err != nil {
		return err
	}
	e.divideStores()
	return nil
}

func (t *tape) all() []vk.Buffer {
	list := slices.Concat(t.inputs, t.middles)
	for i := range t.stores {
		list = append(list, t.stores[i].all()...)
	}
	for i := range t.kept {
		list = append(list, t.kept[i].v[:]...)
	}
	return append(list, t.tables, t.residual, t.dx, t.dxCopy, t.dh, t.dff, t.datt, t.delta, t.turned, t.dqkv, t.dlogits, t.dhl, t.u, t.partials)
}

// recomputed tells whether a layer's activations are gone when its turn in the
// backward pass comes.
func (t *tape) recomputed(layer int) bool { return layer < t.from }

// activationsOf is where a layer's activations go in a step's forward pass. With
// training rows they stay there until the layer's slice of the backward pass, if it is not
// recomputed.
func (e *Engine) activationsOf(t *training, layer int) *activations {
	if t != nil && !e.tape.recomputed(layer) {
		return &e.tape.kept[layer-e.tape.from]
	}
	return &e.arena.shared
}

// middle is the residual stream after a layer's attention, where it is kept.
func (t *tape) middle(layer int) vk.Buffer { return t.middles[layer-t.from] }
