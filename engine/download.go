package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// Download reads a slot's adapter in pieces, between which steps run: for each a
// call of Send, as Upload's, then one of Take, which may be made at any time. The
// adapter stays where it is, and must until the end. Close ends it, for the goroutine
// of the engine's steps.
type Download struct {
	image  *Image
	memory vk.Buffer
	ferry  *ferry
	sent   uint64 // what has been asked for
	come   uint64 // of that
	taken  uint64 // of that
}

// BeginSave begins to read the adapter in a slot; see Save.
func (e *Engine) BeginSave(slot int) (*Download, error) {
	if slot < 0 || slot >= e.slots.slots || e.residents[slot] == nil {
		return nil, fmt.Errorf("BUG: save slot %d, which is free", slot)
	}
	r := e.residents[slot]
	f, err := e.newFerry(r.memory, r.memory.Size, vk.Download)
	if err != nil {
		return nil, err
	}
	im := &Image{data: make([]byte, r.memory.Size), entries: map[int]slotEntry{}, maxRank: r.maxRank, gains: r.gains}
	for row, entry := range e.slots.adapter(slot) {
		im.entries[row] = entry.moved(r.memory.Address, 0)
	}
	return &Download{image: im, memory: r.memory, ferry: f}, nil
}

// Send asks the device for the next piece. It says whether there is more to come.
func (d *Download) Send() (more bool, err error) {
	size := uint64(len(d.image.data))
	d.come = d.sent
	switch n := d.ferry.piece(d.sent, size); {
	case d.memory.Host != nil:
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
		return false, fmt.Errorf("save an adapter of %d bytes: %w", size, err)
	}
	return d.come < size, nil
}

// Take takes the piece that has come.
func (d *Download) Take() {
	for d.taken < d.come {
		n := d.ferry.piece(d.taken, d.come)
		from := d.ferry.halves[d.taken/d.ferry.most%2].staging.Host
		if host := d.memory.Host; host != nil {
			from = host[d.taken:]
		}
		copy(d.image.data[d.taken:][:n], from)
		d.taken += n
	}
}

// Image is what has been read, once all has been taken.
func (d *Download) Image() *Image { return d.image }

// Close gives back what reading took.
func (d *Download) Close() { d.ferry.free() }
