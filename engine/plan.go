package engine

import (
	"fmt"
	"sort"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// ErrOutOfMemory is the error of what the device has no room for.
var ErrOutOfMemory = vk.ErrOutOfMemory

// Memory is what an engine takes of the device, by part, in bytes; adapters
// apart.
type Memory struct {
	Weights, Cache, Activations int64

	// With training rows.
	Inputs int64 // of every layer: what the backward pass starts from
	Kept   int64 // activations of layers that are not recomputed
	Work   int64 // gradients of activations, of one layer at a time, and what is recomputed

	KeptLayers int // whose activations are not recomputed: the last ones
	KeptEach   int64
	KeptBeside int64 // of rows that serve in a step with training rows: once for all layers that are kept in one allocation
}

// Total is the sum of the parts.
func (m Memory) Total() int64 {
	return m.Weights + m.Cache + m.Activations + m.Inputs + m.Kept + m.Work
}

// Plan tells what an engine would take of a device, without loading anything.
func Plan(device *Device, checkpoint *weights.Checkpoint, config Config) (Memory, error) {
	e, err := prepare(device, checkpoint, config)
	if err != nil {
		return Memory{}, err
	}
	return e.memory(checkpoint), nil
}

// Limits of TrainRows: more rows keep no device busier, fewer leave some idle.
const (
	mostTrainRows  = 4096
	leastTrainRows = 512
	mostKept       = 5 << 30 // bytes of activations that are worth fewer, larger steps
)

// TrainRows is the number of training rows a step should take at most on a GPU:
// so many that no layer's activations have to be computed again, and that what is
// kept does not outweigh the gain of large steps. Optimizer steps of more rows take
// several steps.
func TrainRows(device *Device, checkpoint *weights.Checkpoint, config Config) (int, error) {
	config.Recompute = RecomputeNever
	rows := mostTrainRows
	for ; rows > leastTrainRows; rows /= 2 {
		config.TrainRows, config.MaxRows = rows, rows
		m, err := Plan(device, checkpoint, config)
		if err != nil {
			return 0, err
		}
		if m.Inputs+m.Kept <= mostKept && m.Total()+config.Reserve <= usable(device) {
			break
		}
	}
	return rows, nil
}

// usable is the memory that a plan may take: a tenth of what is free stays free for
// adapters and what grows with them.
func usable(device *Device) int64 { return int64(device.Info.FreeMemory) / 10 * 9 }

// memory sums what will be allocated, and decides how many layers' activations
// are kept.
func (e *Engine) memory(checkpoint *weights.Checkpoint) Memory {
	m := Memory{Weights: e.weightBytes(checkpoint), Cache: e.cacheBytes(), Activations: total(e.arenaSizes())}
	if e.config.TrainRows == 0 {
		return m
	}
	m.Inputs, m.Work = total(e.inputSizes()), total(e.workSizes())
	recompute := total(e.recomputeSizes())
	first := total(e.keptSizes(1))
	m.KeptEach = total(e.keptSizes(2)) - first
	m.KeptBeside = first - m.KeptEach
	m.KeptLayers = e.keep(m.Total() + recompute)
	m.Kept = total(e.keptSizes(m.KeptLayers))
	if m.KeptLayers < e.checkpointConfig.Layers {
		m.Work += recompute
	}
	return m
}

// keep is the number of layers to keep activations of, where the rest takes
// base bytes.
func (e *Engine) keep(base int64) int {
	most := e.checkpointConfig.Layers
	switch e.config.Recompute {
	case RecomputeAlways:
		return 0
	case RecomputeNever:
		return most
	}
	room := usable(e.device) - e.config.Reserve - base
	return sort.Search(most, func(n int) bool { return total(e.keptSizes(n+1)) > room })
}

func (e *Engine) weightBytes(checkpoint *weights.Checkpoint) int64 {
	n := int64(4 * e.config.Context * e.checkpointConfig.HeadDim)
	for _, name := range checkpoint.Names() {
		t, _ := checkpoint.Tensor(name)
		size := e.precision.Weight.Size()
		if len(t.Shape) < 2 {
			size = weights.F32.Size()
		}
		n += int64(t.Elements() * size)
	}
	return n
}

func total(list []sized) int64 {
	n := int64(0)
	for _, b := range list {
		n += int64(b.size)
	}
	return n
}

// TrainingBytes is what training an adapter would take of the device: itself,
// and its gradient, moments and, where the compute type is not float32, master weights.
func TrainingBytes(device *Device, checkpoint *weights.Checkpoint, config Config, a Adapter) (int64, error) {
	e, err := prepare(device, checkpoint, config)
	if err != nil {
		return 0, err
	}
	_, count, bytes := e.place(a)
	t := trainee{apart: e.precision.Act != weights.F32}
	return int64(bytes) + int64(4*count*t.arrays()), nil
}

// fits refuses what the device has no room for.
func (e *Engine) fits(m Memory) error {
	free, needed := int64(e.device.Info.FreeMemory), m.Total()+e.config.Reserve
	if needed <= free {
		return nil
	}
	training := ""
	if t := m.Inputs + m.Kept + m.Work + e.config.Reserve; t > 0 {
		training = ", training " + mib(t)
	}
	return fmt.Errorf("%w: the model needs %s (weights %s, KV cache %s, activations %s%s), but %s has %s free: choose a smaller context, cache or dtype",
		ErrOutOfMemory, mib(needed), mib(m.Weights), mib(m.Cache), mib(m.Activations), training, e.device.Info.Name, mib(free))
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20) }
