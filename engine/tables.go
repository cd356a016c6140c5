package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// tables is one step's input: everything the kernels look up by row, gathered
// on the host and moved to the device in one copy.
type tables struct {
	data  []byte
	stage vk.Buffer // what the host writes
	local vk.Buffer // what the kernels read; none on unified memory
}

// entry is a table's place in the step's input.
type entry struct{ at, size int }

func (t *tables) reset() { t.data = t.data[:0] }

// add appends a table and returns its place.
func add[T any](t *tables, values []T) entry {
	const alignment = 16
	for len(t.data)%alignment != 0 {
		t.data = append(t.data, 0)
	}
	e := entry{len(t.data), len(vk.Bytes(values))}
	t.data = append(t.data, vk.Bytes(values)...)
	return e
}

// addPadded appends a table with zeros behind it, up to a capacity that lasts
// for many steps: see shape.
func addPadded[T any](t *tables, values []T) entry {
	if len(values) == 0 {
		return entry{}
	}
	e := add(t, values)
	each := e.size / len(values)
	const least = 64
	capacity := least
	for capacity < len(values) {
		capacity *= 2
	}
	padding := (capacity - len(values)) * each
	t.data = append(t.data, make([]byte, padding)...)
	e.size += padding
	return e
}

// stage writes the tables to where the device can read them, growing the
// buffers if need be.
func (e *Engine) stage(f *frame) error {
	t := &f.tables
	size := len(t.data)
	if err := e.makeRoom(&t.stage, vk.Upload, size); err != nil {
		return fmt.Errorf("step input: %w", err)
	}
	copy(t.stage.Host, t.data)
	f.layout.input = t.stage
	if !e.device.Unified() {
		if err := e.makeRoom(&t.local, vk.Local, size); err != nil {
			return fmt.Errorf("step input: %w", err)
		}
		f.layout.input = t.local
	}
	return e.stagePass(f.layout.train, size)
}

// stagePass makes room for the tables of a backward pass, where there is one.
func (e *Engine) stagePass(t *training, size int) error {
	if t == nil {
		return nil
	}
	if err := e.makeRoom(&e.tape.tables, vk.Local, size); err != nil {
		return fmt.Errorf("input of the backward pass: %w", err)
	}
	t.layout.input = e.tape.tables
	return nil
}

// upload records moving the tables to where the kernels read them. Those of a
// backward pass are moved a second time: its slices run beside later steps, whose
// tables take the place of these.
func (e *Engine) upload(rec *vk.Recorder) {
	t := &e.frame.tables
	if !e.device.Unified() {
		rec.Copy(t.local, 0, t.stage, 0, uint64(len(t.data)))
	}
	if e.frame.layout.train != nil {
		rec.Copy(e.tape.tables, 0, t.stage, 0, uint64(len(t.data)))
	}
}

// at is the device range of a table.
func (l *layout) at(p entry) vk.Range {
	if p.size == 0 {
		return vk.Range{}
	}
	return l.input.Span(uint64(p.at), uint64(p.size))
}

func (t *tables) free(device *vk.Device) {
	device.Free(t.stage)
	device.Free(t.local)
}
