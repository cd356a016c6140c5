package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// Download reads a slot in pieces, between which steps run: for each a call of
// Send, as Upload's, then one of Take, which may be made at any time. What is read stays
// where it is, and must until the end, unless it was set aside. Close ends it, for the
// goroutine of the engine's steps.
type Download struct {
	size   uint64
	data   []byte // made by the first Take: to clear it takes a while
	memory vk.Buffer
	aside  bool // the memory is the download's own
	ferry  *ferry
	first  int    // the ferry's submission with the first piece
	sent   uint64 // what has been asked for
	come   uint64 // of that
	taken  uint64 // of that

	image *Image         // what it is, of an adapter, but for its data
	state *TrainingState // or of a training state
}

// BeginSave begins to read the adapter in a slot; see Save.
func (e *Engine) BeginSave(slot int) (*Download, error) {
	if slot < 0 || slot >= e.slots.slots || e.residents[slot] == nil {
		return nil, fmt.Errorf("BUG: save slot %d, which is free", slot)
	}
	r := e.residents[slot]
	d, err := e.newDownload(r.memory, r.memory.Size)
	if err != nil {
		return nil, err
	}
	d.image = e.image(slot)
	return d, nil
}

func (e *Engine) newDownload(memory vk.Buffer, size uint64) (*Download, error) {
	f, err := e.newFerry(memory, size, vk.Download)
	if err != nil {
		return nil, err
	}
	return &Download{size: size, memory: memory, ferry: f}, nil
}

// Send asks the device for the next piece. It says whether there is more to come.
func (d *Download) Send() (more bool, err error) {
	d.come = d.sent
	switch n := d.ferry.piece(d.sent, d.size); {
	case d.memory.Host != nil:
		err = d.ferry.settle()
		d.sent += n
		d.come = d.sent
	case n == 0:
		err = d.ferry.settle()
	default:
		from := d.sent
		d.sent += n
		err = d.ferry.submit(func(rec *vk.Recorder) error {
			rec.Copy(d.ferry.next().staging, 0, d.memory, from, n)
			return nil
		})
	}
	if err != nil {
		return false, fmt.Errorf("read %d bytes of a slot: %w", d.size, err)
	}
	return d.come < d.size, nil
}

// Take takes the piece that has come.
func (d *Download) Take() {
	if d.data == nil {
		d.data = make([]byte, d.size)
	}
	for d.taken < d.come {
		n := d.ferry.piece(d.taken, d.come)
		piece := d.first + int(d.taken/d.ferry.most)
		from := d.ferry.halves[piece%len(d.ferry.halves)].staging.Host
		if host := d.memory.Host; host != nil {
			from = host[d.taken:]
		}
		copy(d.data[d.taken:][:n], from)
		d.taken += n
	}
}

// Image is the adapter that has been read, once all has been taken.
func (d *Download) Image() *Image {
	d.image.data = d.data
	return d.image
}

// State is the training state that has been read, once all has been taken.
func (d *Download) State() *TrainingState {
	d.state.Data = d.data
	return d.state
}

// Close gives back what reading took.
func (d *Download) Close() {
	d.ferry.free()
	if d.aside {
		d.ferry.device.Free(d.memory)
	}
}
