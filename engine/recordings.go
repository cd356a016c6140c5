package engine

import (
	"fmt"
	"slices"

	"loquetier/engine/vk"
)

// recordings are what recent steps ran, the most recently used last. Steps of
// the same shape in the same frame run the same commands, which are recorded once: what
// they differ in lies in their tables.
type recordings struct{ list []*recording }

// maxRecordings bounds the list: in each frame a few sizes of decode batches, and
// the prompts that come between.
const maxRecordings = 16 * Depth

// recording is a step's command buffers, one for each of its submissions, and
// what it was recorded for.
type recording struct {
	buffers []*vk.Commands // at least as many as there are pieces
	pieces  int
	frame   *frame
	shapes  [2]shape // as layout has them; zero: it serves no other step
	stats   vk.Stats
}

// find returns the recording for a frame and shape, nil where there is none.
func (r *recordings) find(f *frame, s [2]shape) *recording {
	for i, known := range slices.Backward(r.list) {
		if known.frame == f && known.shapes == s {
			r.use(i)
			return known
		}
	}
	return nil
}

// take returns an empty recording: of those that serve no other step the one that
// was used least recently, whose command buffers have their memory already, where one
// has run for sure; otherwise a new one, or the one of all that was used least recently.
func (r *recordings) take() *recording {
	idle := r.idle()
	switch {
	case len(idle) >= Depth:
		r.use(idle[0])
	case len(r.list) < maxRecordings:
		r.list = append(r.list, &recording{})
	default:
		r.use(0)
	}
	taken := r.list[len(r.list)-1]
	taken.pieces, taken.shapes, taken.stats = 0, [2]shape{}, vk.Stats{}
	return taken
}

// idle are the places of the recordings that serve no other step. The last of them
// may be that of the step in flight.
func (r *recordings) idle() (places []int) {
	for i, known := range r.list {
		if known.shapes == [2]shape{} {
			places = append(places, i)
		}
	}
	return places
}

// use makes the recording at a place the most recently used.
func (r *recordings) use(i int) {
	used := r.list[i]
	r.list = append(slices.Delete(r.list, i, i+1), used)
}

// forget makes every recording serve no other step: addresses in it have changed.
func (r *recordings) forget() {
	for _, known := range r.list {
		known.shapes = [2]shape{}
	}
}

func (r *recordings) free() {
	for _, known := range r.list {
		for _, c := range known.buffers {
			c.Free()
		}
	}
	r.list = nil
}

// add makes what is recorded the recording's last piece, of number i, once what
// that was before has run.
func (r *recording) add(i int, rec *vk.Recorder) (*vk.Commands, error) {
	if i == len(r.buffers) {
		fresh, err := rec.NewCommands()
		if err != nil {
			return nil, fmt.Errorf("command buffer: %w", err)
		}
		r.buffers = append(r.buffers, fresh)
	}
	r.pieces = i + 1
	r.stats.Add(rec.Stats())
	return r.buffers[i], rec.Record(r.buffers[i])
}

// check demands that what is recorded is the recording's piece of number i.
func (r *recording) check(i int, rec *vk.Recorder) (*vk.Commands, error) {
	if i >= r.pieces {
		return nil, fmt.Errorf("BUG: a step of a known shape has more than %d pieces", r.pieces)
	}
	return r.buffers[i], rec.Matches(r.buffers[i])
}
