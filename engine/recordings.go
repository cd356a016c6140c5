package engine

import (
	"fmt"
	"slices"

	"loquetier/engine/vk"
)

// recordings are the command buffers of recent submissions, the most recently
// used last. Steps of the same shape in the same frame run the same commands, which
// are recorded once: what they differ in lies in their tables.
type recordings struct {
	device *vk.Device
	list   []*recording
}

// maxRecordings bounds the command buffers: in each frame a few sizes of decode
// batches, and the prompts that come between.
const maxRecordings = 16 * Depth

// recording is a command buffer and what it was recorded for.
type recording struct {
	commands *vk.Commands
	frame    *frame
	shape    shape // zero: it serves no other step
	stats    vk.Stats
}

// find returns the recording for a frame and shape, nil where there is none.
func (r *recordings) find(f *frame, s *shape) *recording {
	for i, known := range slices.Backward(r.list) {
		if known.frame == f && known.shape == *s {
			r.use(i)
			return known
		}
	}
	return nil
}

// take returns a recording to record into: a new one, or the one that was used
// least recently, once it has run.
func (r *recordings) take() (*recording, error) {
	if len(r.list) == maxRecordings {
		r.use(0)
		oldest := r.list[len(r.list)-1]
		oldest.shape = shape{}
		return oldest, oldest.commands.Wait()
	}
	commands, err := r.device.NewCommands()
	if err != nil {
		return nil, fmt.Errorf("command buffer: %w", err)
	}
	fresh := &recording{commands: commands}
	r.list = append(r.list, fresh)
	return fresh, nil
}

// use makes the recording at a place the most recently used.
func (r *recordings) use(i int) {
	used := r.list[i]
	r.list = append(slices.Delete(r.list, i, i+1), used)
}

// forget makes every recording serve no other step: addresses in it have changed.
func (r *recordings) forget() {
	for _, known := range r.list {
		known.shape = shape{}
	}
}

func (r *recordings) free() {
	for _, known := range r.list {
		known.commands.Free()
	}
	r.list = nil
}
