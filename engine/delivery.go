package engine

import "loquetier/engine/vk"

// delivery fills device memory from the host in pieces, between which steps run,
// and has the device compute what follows from it. Each piece is a call of Fill, which
// takes the host's time and may be made while a step is prepared or waited for, then a
// call of Send, which like all that is the engine's is for the goroutine of its steps, but
// may find some in flight.
type delivery struct {
	ferry *ferry
	legs  []leg
	ready leg                        // the piece that Fill has prepared, of so many bytes
	calls []func(*vk.Recorder) error // what the device computes, in order, once the contents are there
}

// leg is a part of the device's memory that is filled from the host.
type leg struct {
	memory   vk.Buffer
	at, size uint64 // where the rest of it begins, and how much that is
	read     contents
	from     uint64 // position in the contents of the rest
}

// Fill prepares the next piece.
func (d *delivery) Fill() error {
	if len(d.legs) == 0 {
		return nil
	}
	l := &d.legs[0]
	n := d.ferry.piece(0, l.size)
	dst := d.ferry.next().staging.Host
	if l.memory.Host != nil {
		dst = l.memory.Host[l.at:]
	}
	if err := l.read(dst[:n], l.from); err != nil {
		return err
	}
	d.ready = leg{memory: l.memory, at: l.at, size: n}
	if l.at, l.from, l.size = l.at+n, l.from+n, l.size-n; l.size == 0 {
		d.legs = d.legs[1:]
	}
	return nil
}

// Send gives the device what Fill has prepared, or else the next things to compute.
// It says whether there is more to come.
func (d *delivery) Send() (more bool, err error) {
	switch {
	case d.ready.size > 0:
		err = d.copy()
	case len(d.calls) > 0:
		err = d.ferry.submit(d.compute)
	}
	return len(d.legs)+len(d.calls) > 0, err
}

// compute records the next calls, of which as many as move the bytes of a piece.
func (d *delivery) compute(rec *vk.Recorder) error {
	for len(d.calls) > 0 && rec.Stats().Work.Bytes < float64(d.ferry.most) {
		if err := d.calls[0](rec); err != nil {
			return err
		}
		d.calls = d.calls[1:]
	}
	return nil
}

func (d *delivery) copy() error {
	piece := d.ready
	d.ready = leg{}
	if piece.memory.Host != nil {
		return nil
	}
	return d.ferry.submit(func(rec *vk.Recorder) error {
		rec.Copy(piece.memory, piece.at, d.ferry.next().staging, 0, piece.size)
		return nil
	})
}

// all sends everything at once.
func (d *delivery) all() error {
	for more := true; more; {
		err := d.Fill()
		if err == nil {
			more, err = d.Send()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// complete tells whether everything has been sent.
func (d *delivery) complete() bool { return d.ready.size == 0 && len(d.legs)+len(d.calls) == 0 }
