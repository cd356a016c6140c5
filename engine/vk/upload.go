package vk

import "fmt"

// stagingSize is how much is copied to unmapped device memory at a time.
const stagingSize = 8 << 20

// Write fills a buffer from offset with size bytes that fill produces piece
// by piece: fill(dst, at) writes len(dst) bytes, those from position at. Where
// the buffer is mapped they are written in place, otherwise through a small
// staging buffer.
func (d *Device) Write(buf Buffer, offset, size uint64, fill func(dst []byte, at uint64) error) error {
	if offset+size > buf.Size {
		return fmt.Errorf("BUG: write %d+%d of a buffer of %d bytes", offset, size, buf.Size)
	}
	if buf.Host != nil {
		return inPieces(size, func(at, n uint64) error { return fill(buf.Host[offset+at:offset+at+n], at) })
	}
	staging, err := d.Alloc(Upload, min(size, stagingSize))
	if err != nil {
		return fmt.Errorf("staging buffer: %w", err)
	}
	defer d.Free(staging)
	rec := d.NewRecorder(false)
	return inPieces(size, func(at, n uint64) error {
		if err := fill(staging.Host[:n], at); err != nil {
			return err
		}
		rec.Reset()
		rec.Copy(buf, offset+at, staging, 0, n)
		return rec.Run()
	})
}

// Read copies size bytes from offset of a buffer to the host.
func (d *Device) Read(buf Buffer, offset uint64, dst []byte) error {
	size := uint64(len(dst))
	if offset+size > buf.Size {
		return fmt.Errorf("BUG: read %d+%d of a buffer of %d bytes", offset, size, buf.Size)
	}
	if buf.Host != nil {
		copy(dst, buf.Host[offset:])
		return nil
	}
	staging, err := d.Alloc(Download, min(size, stagingSize))
	if err != nil {
		return fmt.Errorf("staging buffer: %w", err)
	}
	defer d.Free(staging)
	rec := d.NewRecorder(false)
	return inPieces(size, func(at, n uint64) error {
		rec.Reset()
		rec.Copy(staging, 0, buf, offset+at, n)
		if err := rec.Run(); err != nil {
			return err
		}
		copy(dst[at:at+n], staging.Host)
		return nil
	})
}

// inPieces calls do for consecutive pieces of at most stagingSize bytes.
func inPieces(size uint64, do func(at, n uint64) error) error {
	for at := uint64(0); at < size; at += stagingSize {
		if err := do(at, min(stagingSize, size-at)); err != nil {
			return err
		}
	}
	return nil
}
