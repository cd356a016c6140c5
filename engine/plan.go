package engine

import (
	"fmt"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// Memory is what an engine takes of the device, by part, in bytes.
type Memory struct {
	Weights, Cache, Activations int64
}

// Total is the sum of the parts.
func (m Memory) Total() int64 { return m.Weights + m.Cache + m.Activations }

// Memory tells what the engine's configuration takes of the device, adapters apart.
func (e *Engine) Memory(checkpoint *weights.Checkpoint) Memory {
	m := Memory{Cache: e.cacheBytes()}
	for _, name := range checkpoint.Names() {
		t, _ := checkpoint.Tensor(name)
		size := e.precision.Weight.Size()
		if len(t.Shape) < 2 {
			size = weights.F32.Size()
		}
		m.Weights += int64(len(t.Data) / t.DType.Size() * size)
	}
	m.Weights += int64(4 * e.config.Context * e.checkpointConfig.HeadDim)
	for _, b := range e.arenaSizes() {
		m.Activations += int64(b.size)
	}
	return m
}

// fits refuses what the device has no room for.
func (e *Engine) fits(checkpoint *weights.Checkpoint) error {
	m, free := e.Memory(checkpoint), int64(e.device.Info.FreeMemory)
	if m.Total() <= free {
		return nil
	}
	return fmt.Errorf("%w: the model needs %s (weights %s, KV cache %s, activations %s), but %s has %s free: choose a smaller context, cache or dtype",
		vk.ErrOutOfMemory, mib(m.Total()), mib(m.Weights), mib(m.Cache), mib(m.Activations), e.device.Info.Name, mib(free))
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20) }
