package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// Image is an adapter as it lay in a slot, kept on the host: loaded again it has
// the same bits. It fits the engine that saved it.
type Image struct {
	data    []byte            // the adapter's memory, in the compute type
	entries map[int]slotEntry // by row of the slot table; addresses count from the adapter's memory
	maxRank int
	gains   bool
}

// Bytes is what the image takes of the host's memory.
func (im *Image) Bytes() int { return len(im.data) }

// Save reads a slot's adapter, as it is between two steps; it stays where it is.
// Of an adapter in training these are the weights in the compute type, as Publish
// would serve them.
func (e *Engine) Save(slot int) (*Image, error) {
	if slot < 0 || slot >= e.slots.slots || e.residents[slot] == nil {
		return nil, fmt.Errorf("BUG: save slot %d, which is free", slot)
	}
	r := e.residents[slot]
	im := &Image{data: make([]byte, r.memory.Size), entries: map[int]slotEntry{}, maxRank: r.maxRank, gains: r.gains}
	if err := e.device.Read(r.memory, 0, im.data); err != nil {
		return nil, fmt.Errorf("save an adapter of %d bytes: %w", len(im.data), err)
	}
	for row, entry := range e.slots.adapter(slot) {
		im.entries[row] = entry.moved(r.memory.Address, 0)
	}
	return im, nil
}

// Load puts an image into a free slot. On an error the slot stays free.
func (e *Engine) Load(slot int, im *Image) error {
	return e.occupy(slot, uint64(len(im.data)), func(r *resident) error {
		r.gains, r.maxRank = im.gains, im.maxRank
		if err := e.writeBytes(r.memory, 0, im.data); err != nil {
			return err
		}
		e.slots.put(slot, im.entries, 0, r.memory)
		if err := e.growShrink(im.maxRank); err != nil {
			return err
		}
		return e.slots.write(e.device.Device)
	})
}

// occupy fills a free slot with an adapter of size bytes. On an error the slot
// stays free.
func (e *Engine) occupy(slot int, size uint64, fill func(*resident) error) error {
	if slot < 0 || slot >= e.slots.slots {
		return fmt.Errorf("BUG: slot %d of %d", slot, e.slots.slots)
	}
	if e.residents[slot] != nil {
		return fmt.Errorf("BUG: slot %d is taken", slot)
	}
	r := &resident{}
	var err error
	if r.memory, err = e.device.Alloc(vk.Local, max(size, 16)); err != nil {
		return fmt.Errorf("adapter of %d bytes: %w", size, err)
	}
	if err := fill(r); err != nil {
		e.slots.clear(slot)
		e.device.Free(r.memory)
		return err
	}
	e.residents[slot] = r
	return nil
}
