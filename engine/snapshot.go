package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// stretch is a range of a buffer.
type stretch struct {
	memory   vk.Buffer
	at, size uint64
}

// SnapshotTraining sets aside what TrainingState reads, as it is between two steps, by a
// copy on the device that nobody waits for. It is read from there while training goes on.
func (e *Engine) SnapshotTraining(slot int) (*Download, error) {
	t, err := e.settled(slot)
	if err != nil {
		return nil, err
	}
	master, at := e.master(slot)
	array := uint64(4 * t.count)
	d, err := e.setAside(stretch{master, at, array}, stretch{t.memory, 0, masterArray * array})
	if err != nil {
		return nil, err
	}
	d.state = &TrainingState{trainee: t, model: e.checkpointConfig}
	return d, nil
}

// SnapshotAdapter sets aside what Save reads of a slot in training, as SnapshotTraining
// does.
func (e *Engine) SnapshotAdapter(slot int) (*Download, error) {
	if _, err := e.trainee(slot); err != nil {
		return nil, err
	}
	r := e.residents[slot]
	d, err := e.setAside(stretch{r.memory, 0, r.memory.Size})
	if err != nil {
		return nil, err
	}
	d.image = e.image(slot)
	return d, nil
}

// setAside copies parts of the device's memory, one behind the other, to be read.
func (e *Engine) setAside(parts ...stretch) (*Download, error) {
	size := uint64(0)
	for _, p := range parts {
		size += p.size
	}
	memory, err := e.device.Alloc(vk.Local, size)
	if err != nil {
		return nil, fmt.Errorf("set %d bytes aside: %w", size, err)
	}
	d, err := e.newDownload(memory, size)
	if err != nil {
		e.device.Free(memory)
		return nil, err
	}
	d.aside = true
	if err := d.copy(parts); err != nil {
		d.Close()
		return nil, fmt.Errorf("set %d bytes aside: %w", size, err)
	}
	return d, nil
}

// copy submits the copies of parts to the download's memory.
func (d *Download) copy(parts []stretch) error {
	err := d.ferry.submit(func(rec *vk.Recorder) error {
		at := uint64(0)
		for _, p := range parts {
			rec.Copy(d.memory, at, p.memory, p.at, p.size)
			at += p.size
		}
		return nil
	})
	d.first = d.ferry.sent
	return err
}
