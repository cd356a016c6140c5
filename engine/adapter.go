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

// Attach puts an adapter into a free slot. It costs the adapter's own bytes
// and copies nothing of the base. On an error the slot stays free.
func (e *Engine) Attach(slot int, a Adapter) error {
	places, _, size := e.place(a)
	return e.occupy(slot, size, func(r *resident) error { return e.fill(slot, a, places, r) })
}

func (e *Engine) fill(slot int, a Adapter, places []placement, r *resident) error {
	if err := e.writeMatrices(r.memory, 0, a, places, e.precision.Act); err != nil {
		return err
	}
	size := uint64(e.precision.Act.Size())
	for i, m := range a.Modules {
		p := places[i]
		entry := slotEntry{a: r.memory.Address + p.a*size, b: r.memory.Address + p.b*size, rank: uint32(p.rank), scale: float32(m.Scale)}
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

// writeMatrices writes an adapter's A and B as a type, from an offset in bytes on.
func (e *Engine) writeMatrices(memory vk.Buffer, offset uint64, a Adapter, places []placement, as weights.DType) error {
	size := uint64(as.Size())
	rec := e.device.NewRecorder(false)
	for i, m := range a.Modules {
		p := places[i]
		if err := firstError(
			e.writeMatrix(rec, memory, offset+p.a*size, m.A, as, m.A.Shape[1], p.rank),
			e.writeMatrix(rec, memory, offset+p.b*size, m.B, as, p.rank, m.B.Shape[0])); err != nil {
			return err
		}
	}
	return rec.Run()
}

// writeMatrix writes a matrix as writeRows does, or records that its numbers
// are made on the device, which leaves no room for padding.
func (e *Engine) writeMatrix(rec *vk.Recorder, memory vk.Buffer, offset uint64, t weights.Tensor, as weights.DType, width, rows int) error {
	if t.Random == nil {
		return e.writeRows(memory, offset, t, as, width, rows)
	}
	if t.Elements() != rows*width {
		return fmt.Errorf("random tensor %s of shape %v: the rank is not a multiple of 4", t.Name, t.Shape)
	}
	return e.kernels.draw(rec, memory.Span(offset, uint64(rows*width*as.Size())), t, as)
}

// writeRows writes a matrix with its rows padded to width numbers and its
// height to rows, zeros in the padding.
func (e *Engine) writeRows(memory vk.Buffer, offset uint64, t weights.Tensor, as weights.DType, width, rows int) error {
	whole := make([]byte, rows*width*as.Size())
	for i := range t.Shape[0] {
		if err := convertRow(whole[i*width*as.Size():], as, t, i); err != nil {
			return err
		}
	}
	return e.writeBytes(memory, offset, whole)
}

// convertRow writes a row of a matrix as a type. It refuses what the type does
// not hold.
func convertRow(dst []byte, as weights.DType, t weights.Tensor, row int) error {
	have, from := t.Shape[1]*as.Size(), t.Shape[1]*t.DType.Size()
	weights.Convert(dst[:have], as, t.Data[row*from:(row+1)*from], t.DType)
	if as == weights.F16 && overflows(dst[:have]) {
		return fmt.Errorf("tensor %s of %s holds values beyond float16's range (65504): use --dtype bf16 or f32", t.Name, t.File)
	}
	return nil
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

// writeGain computes DoRA's gain from the magnitudes and the base's weights.
func (e *Engine) writeGain(memory vk.Buffer, m AdapterModule, p placement) error {
	if err := writeTensor(e.device.Device, memory, p.magnitude, *m.Magnitude, weights.F32, func(int) {}); err != nil {
		return err
	}
	out, in := m.Module.Dims(e.checkpointConfig)
	size := uint64(e.precision.Act.Size())
	rec := e.device.NewRecorder(false)
	err := e.kernels.Dora(rec, Dora{
		W:         e.model.layers[m.Layer].weight(m.Module),
		A:         memory.Span(p.a*size, uint64(p.rank*in)*size),
		B:         memory.Span(p.b*size, uint64(out*p.rank)*size),
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
