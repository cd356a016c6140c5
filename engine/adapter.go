package engine

import (
	"errors"
	"fmt"

	"loquetier/engine/batch"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// Adapter is a LoRA adapter as the engine takes it: its modules, checked
// against the base by the caller.
type Adapter struct {
	Modules []AdapterModule
}

// AdapterModule is the adapter of one module. The scale stays apart from the
// weights.
type AdapterModule struct {
	Layer     int
	Module    Module
	Rank      int
	Scale     float64
	A         weights.Tensor  // [Rank, in]
	B         weights.Tensor  // [out, Rank]
	Magnitude *weights.Tensor // [out], DoRA; nil without
}

// resident is an adapter in device memory.
type resident struct {
	memory  vk.Buffer
	maxRank int      // padded
	gains   bool     // it is a DoRA adapter
	trainee *trainee // nil unless it is being trained
}

// placement is where a module's matrices lie in its adapter's memory: A and B
// in numbers of whatever type, DoRA's vectors, behind all of them, in bytes.
type placement struct {
	a, b            uint64
	magnitude, gain uint64
	rank            int // padded
}

// padded rounds a rank up to what kernels load at a time.
func padded(rank int) int { return (rank + 3) / 4 * 4 }

// place lays an adapter out: count numbers in its matrices, bytes in all.
func (e *Engine) place(a Adapter) (places []placement, count int, bytes uint64) {
	take := func(numbers int) uint64 {
		from := count
		count += (numbers + 7) / 8 * 8 // 16 bytes of the smallest type
		return uint64(from)
	}
	places = make([]placement, len(a.Modules))
	for i, m := range a.Modules {
		out, in := m.Module.Dims(e.checkpointConfig)
		r := padded(m.Rank)
		places[i] = placement{rank: r, a: take(r * in), b: take(out * r)}
	}
	bytes = uint64(count * e.precision.Act.Size())
	for i, m := range a.Modules {
		if m.Magnitude != nil {
			out, _ := m.Module.Dims(e.checkpointConfig)
			size := uint64(4*out+15) / 16 * 16
			places[i].magnitude, places[i].gain = bytes, bytes+size
			bytes += 2 * size
		}
	}
	return places, count, bytes
}

// describe notes what steps have to know of an adapter.
func (r *resident) describe(a Adapter, places []placement) {
	for i, m := range a.Modules {
		r.maxRank = max(r.maxRank, places[i].rank)
		r.gains = r.gains || m.Magnitude != nil
	}
}

// Attach puts an adapter into a free slot. It costs the adapter's own bytes
// and copies nothing of the base. On an error the slot stays free.
func (e *Engine) Attach(slot int, a Adapter) error {
	u, err := e.BeginUpload(slot, a)
	if err != nil {
		return err
	}
	return u.Run()
}

// seat enters an adapter in device memory into the slot table.
func (e *Engine) seat(slot int, a Adapter, places []placement, r *resident) {
	size := uint64(e.precision.Act.Size())
	for i, m := range a.Modules {
		p := places[i]
		entry := slotEntry{a: r.memory.Address + p.a*size, b: r.memory.Address + p.b*size, rank: uint32(p.rank), scale: float32(m.Scale)}
		if m.Magnitude != nil {
			entry.gain = r.memory.Address + p.gain
		}
		e.slots.entries[e.slots.index(m.Layer, m.Module, slot)] = entry
	}
}

// CheckAdapter refuses an adapter that Attach would refuse for its numbers,
// without touching the device. It may run beside a step.
func (e *Engine) CheckAdapter(a Adapter) error {
	if e.precision.Act != weights.F16 {
		return nil
	}
	for _, m := range a.Modules {
		for _, t := range []weights.Tensor{m.A, m.B} {
			row := make([]byte, t.Shape[1]*weights.F16.Size())
			for i := range t.Shape[0] {
				if err := convertRow(row, weights.F16, t, i); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// gain records the computation of DoRA's gain from the magnitudes and the
// base's weights.
func (e *Engine) gain(rec *vk.Recorder, memory vk.Buffer, m AdapterModule, p placement) error {
	out, in := m.Module.Dims(e.checkpointConfig)
	size := uint64(e.precision.Act.Size())
	err := e.kernels.Dora(rec, Dora{
		W:         e.model.layers[m.Layer].weight(m.Module),
		A:         memory.Span(p.a*size, uint64(p.rank*in)*size),
		B:         memory.Span(p.b*size, uint64(out*p.rank)*size),
		Magnitude: memory.Span(p.magnitude, uint64(4*out)), Gain: memory.Span(p.gain, uint64(4*out)),
		Scale: float32(m.Scale), Out: out, In: in, Rank: p.rank,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", m.Magnitude.Name, err)
	}
	return nil
}

// weight is the matrix of a module.
func (l *layer) weight(m Module) vk.Range {
	for g := range groups {
		for i, member := range g.members() {
			if member == m {
				return l.products[g].Weights[i]
			}
		}
	}
	panic("BUG: a module outside every group")
}

// Detach takes an adapter out of its slot and frees its memory. No step may
// be running. What is left of a pending backward pass that adds to its gradient is run before.
func (e *Engine) Detach(slot int) error {
	if slot < 0 || slot >= e.slots.slots || e.residents[slot] == nil {
		return fmt.Errorf("BUG: detach slot %d, which is free", slot)
	}
	var err error
	if e.pending.trains(slot) {
		_, err = e.Run(&batch.Step{Backward: batch.All})
	}
	e.slots.clear(slot)
	e.residents[slot].free(e.device.Device)
	e.residents[slot] = nil
	return errors.Join(err, e.slots.write(e.device.Device))
}

func (r *resident) free(device *vk.Device) {
	device.Free(r.memory)
	if r.trainee != nil {
		device.Free(r.trainee.memory)
	}
}
