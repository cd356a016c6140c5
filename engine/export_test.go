package engine

import (
	"fmt"
	"slices"

	"loquetier/engine/vk"
)

// Gradients are what a training slot has gathered since its last update: sums
// over targets, laid out as its modules' A and B.
func (e *Engine) Gradients(slot int) ([]AdapterModule, error) {
	t, err := e.trainee(slot)
	if err != nil {
		return nil, err
	}
	return e.readModules(t, t.memory, uint64(4*t.count*gradientArray))
}

// Buffers is the number of buffers of the device.
func (e *Engine) Buffers() int { return e.device.Buffers() }

// KeptLayers is the number of layers whose activations are kept.
func (e *Engine) KeptLayers() int { return len(e.tape.kept) }

// Stores is the number of buffers that each of their kinds is kept in.
func (e *Engine) Stores() int { return len(e.tape.stores) }

// Recordings is the number of recordings that serve further steps.
func (e *Engine) Recordings() int {
	n := 0
	for _, r := range e.recordings.list {
		if r.shapes != [2]shape{} {
			n++
		}
	}
	return n
}

// Pipelines are the kernels that are ready, with their constants.
func (e *Engine) Pipelines() (all []string) {
	for key := range e.kernels.pipes {
		all = append(all, fmt.Sprint(key.name, key.constants[:key.count]))
	}
	slices.Sort(all)
	return all
}

// Forget makes the next steps be recorded.
func (e *Engine) Forget() { e.recordings.forget() }

// Staged makes an upload go through staging buffers in pieces of so many bytes, as
// where the host does not reach the device's memory.
func (d *delivery) Staged(most uint64) error {
	for i := range d.legs {
		d.legs[i].memory.Host = nil
	}
	return d.ferry.stage(vk.Upload, most)
}

// Staged makes a download go through staging buffers.
func (d *Download) Staged(most uint64) error {
	d.memory.Host = nil
	return d.ferry.stage(vk.Download, most)
}

func (f *ferry) stage(kind vk.Kind, most uint64) (err error) {
	f.most = most
	for i := range f.halves {
		f.device.Free(f.halves[i].staging)
		if f.halves[i].staging, err = f.device.Alloc(kind, most); err != nil {
			return err
		}
	}
	return nil
}
