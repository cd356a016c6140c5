package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// ferry moves bytes between the host and device memory in pieces, between which
// steps run: a copy is submitted behind the steps that are in flight, and waits for
// none. It has two staging buffers, so that the host fills or empties one while the
// device takes its turn at the other. Memory that the host reaches needs none.
type ferry struct {
	device *vk.Device
	rec    *vk.Recorder
	most   uint64 // bytes of a piece
	halves [2]half
	sent   int // submissions so far
}

type half struct {
	staging  vk.Buffer
	commands *vk.Commands
}

// newFerry makes a ferry to or from memory, of which it moves at most size bytes in
// one go. It is to be freed.
func (e *Engine) newFerry(memory vk.Buffer, size uint64, staging vk.Kind) (*ferry, error) {
	device := e.device.Device
	f := &ferry{device: device, rec: device.NewRecorder(false), most: min(size, uint64(e.config.Piece))}
	for i := range f.halves {
		h := &f.halves[i]
		var err error
		if h.commands, err = device.NewCommands(); err == nil && memory.Host == nil {
			h.staging, err = device.Alloc(staging, f.most)
		}
		if err != nil {
			f.free()
			return nil, fmt.Errorf("staging buffer: %w", err)
		}
	}
	return f, nil
}

// piece is the length of the piece at a position of so many bytes.
func (f *ferry) piece(at, size uint64) uint64 { return min(f.most, size-at) }

// next is the half of the next submission.
func (f *ferry) next() *half { return &f.halves[f.sent%len(f.halves)] }

// submit submits what record records, and waits until the submission before it
// has ended, which was behind steps that have ended: its half is free.
func (f *ferry) submit(record func(*vk.Recorder) error) error {
	f.rec.Reset()
	if err := record(f.rec); err != nil {
		return err
	}
	h := f.next()
	if err := f.rec.Record(h.commands); err != nil {
		return err
	}
	if err := h.commands.Submit(); err != nil {
		return err
	}
	f.sent++
	return f.next().commands.Wait()
}

// settle waits for what was submitted.
func (f *ferry) settle() error {
	return firstError(f.halves[0].commands.Wait(), f.halves[1].commands.Wait())
}

// free waits for what was submitted and gives everything back but the memory.
func (f *ferry) free() {
	for _, h := range f.halves {
		if h.commands != nil {
			h.commands.Free()
		}
		f.device.Free(h.staging)
	}
}
