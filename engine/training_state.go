package engine

import (
	"fmt"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// TrainingState is everything that a training slot's next updates depend on, as it was
// at one moment.
type TrainingState struct {
	Data []byte // float32: the weights, the gradient gathered so far, the two moments

	trainee *trainee
	model   weights.Config
}

// Weights are those of the modules: A and B of each, in the order in which they were
// attached.
func (s *TrainingState) Weights() []AdapterModule {
	return s.trainee.cut(s.Data[:4*s.trainee.count], s.model)
}

// TrainingState reads the training state of a slot at once. No backward pass of the slot
// may be pending.
func (e *Engine) TrainingState(slot int) (*TrainingState, error) {
	t, err := e.settled(slot)
	if err != nil {
		return nil, err
	}
	size := 4 * t.count
	s := &TrainingState{Data: make([]byte, 4*size), trainee: t, model: e.checkpointConfig}
	memory, offset := e.master(slot)
	if err := firstError(e.device.Read(memory, offset, s.Data[:size]), e.device.Read(t.memory, 0, s.Data[size:])); err != nil {
		return nil, fmt.Errorf("read the training state of slot %d: %w", slot, err)
	}
	return s, nil
}

// settled finds a training slot's arrays where no backward pass is adding to its
// gradient.
func (e *Engine) settled(slot int) (*trainee, error) {
	if e.pending.trains(slot) {
		return nil, fmt.Errorf("BUG: the training state of slot %d in the middle of its backward pass", slot)
	}
	return e.trainee(slot)
}

// Trained reads the weights of a training slot as they are between two steps,
// in float32: A and B of each module, in the order in which they were attached.
func (e *Engine) Trained(slot int) ([]AdapterModule, error) {
	t, err := e.trainee(slot)
	if err != nil {
		return nil, err
	}
	memory, offset := e.master(slot)
	return e.readModules(t, memory, offset)
}

// readModules reads one of a trainee's arrays.
func (e *Engine) readModules(t *trainee, memory vk.Buffer, offset uint64) ([]AdapterModule, error) {
	all := make([]byte, 4*t.count)
	if err := e.device.Read(memory, offset, all); err != nil {
		return nil, fmt.Errorf("read an adapter in training: %w", err)
	}
	return t.cut(all, e.checkpointConfig), nil
}

// cut takes the modules out of one of a trainee's arrays.
func (t *trainee) cut(array []byte, model weights.Config) []AdapterModule {
	out := make([]AdapterModule, len(t.modules))
	for i, m := range t.modules {
		rows, in := m.Module.Dims(model)
		p := t.places[i]
		m.A = cut(array[4*p.a:], m.Rank, in, in)
		m.B = cut(array[4*p.b:], rows, p.rank, m.Rank)
		out[i] = m
	}
	return out
}

// cut takes the first columns of rows that are width numbers apart.
func cut(data []byte, rows, width, columns int) weights.Tensor {
	t := weights.Tensor{DType: weights.F32, Shape: []int{rows, columns}}
	for r := range rows {
		t.Data = append(t.Data, data[4*r*width:][:4*columns]...)
	}
	return t
}
