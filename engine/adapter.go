package engine

import (
	"fmt"

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
	maxRank int  // padded
	gains   bool // it is a DoRA adapter
}

// placement is where a module's matrices lie in its adapter's memory.
type placement struct {
	a, b, magnitude, gain uint64
	rank                  int // padded
}

// padded rounds a rank up to what kernels load at a time.
func padded(rank int) int { return (rank + 3) / 4 * 4 }

// place lays an adapter out and returns its size in bytes.
func (e *Engine) place(a Adapter) ([]placement, uint64) {
	var at uint64
	take := func(bytes int) uint64 {
		from := at
		at += (uint64(bytes) + 15) / 16 * 16
		return from
	}
	places := make([]placement, len(a.Modules))
	for i, m := range a.Modules {
		out, in := m.Module.Dims(e.model.config)
		r, size := padded(m.Rank), e.precision.Act.Size()
		p := placement{rank: r, a: take(r * in * size), b: take(out * r * size)}
		if m.Magnitude != nil {
			p.magnitude, p.gain = take(4*out), take(4*out)
		}
		places[i] = p
	}
	return places, at
}

// Attach puts an adapter into a free slot. It costs the adapter's own bytes
// and copies nothing of the base. On an error the slot stays free.
func (e *Engine) Attach(slot int, a Adapter) error {
	if slot < 0 || slot >= e.slots.slots {
		return fmt.Errorf("BUG: slot %d of %d", slot, e.slots.slots)
	}
	if e.residents[slot] != nil {
		return fmt.Errorf("BUG: slot %d is taken", slot)
	}
	places, size := e.place(a)
	r := &resident{}
	var err error
	if r.memory, err = e.device.Alloc(vk.Local, max(size, 16)); err != nil {
		return fmt.Errorf("adapter of %d bytes: %w", size, err)
	}
	if err := e.fill(slot, a, places, r); err != nil {
		e.slots.clear(slot)
		e.device.Free(r.memory)
		return err
	}
	e.residents[slot] = r
	return nil
}

func (e *Engine) fill(slot int, a Adapter, places []placement, r *resident) error {
	for i, m := range a.Modules {
		p := places[i]
		if err := firstError(e.writeRows(r.memory, p.a, m.A, m.A.Shape[1], m.A.Shape[1], p.rank),
			e.writeRows(r.memory, p.b, m.B, m.Rank, p.rank, m.B.Shape[0])); err != nil {
			return err
		}
		entry := slotEntry{a: r.memory.Address + p.a, b: r.memory.Address + p.b, rank: uint32(p.rank), scale: float32(m.Scale)}
		if m.Magnitude != nil {
			if err := e.writeGain(r.memory, m, p); err != nil {
				return fmt.Errorf("%s: %w", m.Magnitude.Name, err)
			}
			entry.gain = r.memory.Address + p.gain
			r.gains = true
		}
		e.slots.entries[e.slots.index(m.Layer, m.Module, slot)] = entry
		r.maxRank = max(r.maxRank, p.rank)
	}
	if err := e.growShrink(r.maxRank); err != nil {
		return err
	}
	return e.slots.write(e.device.Device)
}

// writeRows writes a matrix with its rows padded from have to want elements
// and its height to rows, zeros in the padding.
func (e *Engine) writeRows(memory vk.Buffer, offset uint64, t weights.Tensor, have, want, rows int) error {
	as := e.precision.Act
	whole := make([]byte, rows*want*as.Size())
	from := have * t.DType.Size()
	for i := range len(t.Data) / from {
		row := whole[i*want*as.Size():][:have*as.Size()]
		weights.Convert(row, as, t.Data[i*from:(i+1)*from], t.DType)
		if as == weights.F16 && overflows(row) {
			return fmt.Errorf("tensor %s of %s holds values beyond float16's range (65504): use --dtype bf16 or f32", t.Name, t.File)
		}
	}
	return e.device.Write(memory, offset, uint64(len(whole)), func(dst []byte, at uint64) error {
		copy(dst, whole[at:])
		return nil
	})
}

// writeGain computes DoRA's gain from the magnitudes and the base's weights.
func (e *Engine) writeGain(memory vk.Buffer, m AdapterModule, p placement) error {
	if err := writeTensor(e.device.Device, memory, p.magnitude, *m.Magnitude, weights.F32, func(int) {}); err != nil {
		return err
	}
	out, in := m.Module.Dims(e.model.config)
	size := uint64(e.precision.Act.Size())
	rec := e.device.NewRecorder(false)
	err := e.kernels.Dora(rec, Dora{
		W:         e.model.layers[m.Layer].weight(m.Module),
		A:         memory.Span(p.a, uint64(p.rank*in)*size),
		B:         memory.Span(p.b, uint64(out*p.rank)*size),
		Magnitude: memory.Span(p.magnitude, uint64(4*out)), Gain: memory.Span(p.gain, uint64(4*out)),
		Scale: float32(m.Scale), Out: out, In: in, Rank: p.rank,
	})
	if err != nil {
		return err
	}
	return rec.Run()
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
// be running.
func (e *Engine) Detach(slot int) error {
	if slot < 0 || slot >= e.slots.slots || e.residents[slot] == nil {
		return fmt.Errorf("BUG: detach slot %d, which is free", slot)
	}
	e.slots.clear(slot)
	e.device.Free(e.residents[slot].memory)
	e.residents[slot] = nil
	return e.slots.write(e.device.Device)
}
