package engine

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

// image is that of a slot's adapter, whose memory is still to be read.
func (e *Engine) image(slot int) *Image {
	r := e.residents[slot]
	im := &Image{entries: map[int]slotEntry{}, maxRank: r.maxRank, gains: r.gains}
	for row, entry := range e.slots.adapter(slot) {
		im.entries[row] = entry.moved(r.memory.Address, 0)
	}
	return im
}

// Save reads a slot's adapter, as it is between two steps; it stays where it is.
// Of an adapter in training these are the weights in the compute type, as Publish
// would serve them.
func (e *Engine) Save(slot int) (*Image, error) {
	d, err := e.BeginSave(slot)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for more := true; more; d.Take() {
		if more, err = d.Send(); err != nil {
			return nil, err
		}
	}
	return d.Image(), nil
}

// Load puts an image into a free slot. On an error the slot stays free.
func (e *Engine) Load(slot int, im *Image) error {
	u, err := e.BeginLoad(slot, im)
	if err != nil {
		return err
	}
	return u.Run()
}
