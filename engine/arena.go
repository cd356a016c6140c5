package engine

import (
	"errors"
	"fmt"

	"loquetier/engine/vk"
)

// logitRows is the number of rows whose logits are in memory at a time. A GPU
// that trains takes more of them, so that the head's products are worth its while.
func (e *Engine) logitRows() int {
	if e.config.TrainRows > 0 && e.device.Info.Type != vk.CPU {
		return 512
	}
	return 64
}

// arena holds what a step computes, sized once for the most rows.
type arena struct {
	x      vk.Buffer // [rows, hidden] float32: the residual stream
	shared activations
	h      vk.Buffer // [rows, hidden]: the residual stream normed, the input of q, k and v, or of gate and up
	qkv    vk.Buffer // [rows, q + k + v] float32
	ff     vk.Buffer // [rows, intermediate]
	hl     vk.Buffer // [logitRows, hidden]: the rows whose logits are wanted
	logits vk.Buffer // [logitRows, vocab] float32
	counts vk.Buffer // counters of decode attention and sampling, zero between dispatches
	shares vk.Buffer // what the workgroups of sampling find

	// Of products whose tiles workgroups share: sums, and counters that are
	// always zero between steps.
	sums, sumCounts vk.Buffer

	scratch vk.Buffer // decode attention's parts; grown when a step needs more
}

// arenaSizes lists the fixed buffers with their bytes, which the memory plan sums.
func (e *Engine) arenaSizes() []sized {
	c, a, n, act := e.checkpointConfig, &e.arena, e.config.MaxRows, e.precision.Act.Size()
	sums, sumCounts := e.kernels.SharedSizes()
	list := append(times(n, e.activationWidths(&a.shared)),
		sized{&a.sums, sums}, sized{&a.sumCounts, sumCounts},
		sized{&a.x, 4 * n * c.HiddenSize}, sized{&a.h, act * n * c.HiddenSize}, sized{&a.ff, act * n * c.IntermediateSize}, sized{&a.hl, act * e.logitRows() * c.HiddenSize},
		sized{&a.logits, 4 * e.logitRows() * c.VocabSize}, sized{&a.counts, 4 * max(n*c.KVHeads, e.logitRows())},
		sized{&a.shares, e.kernels.SampleScratch(e.logitRows())})
	if !c.QKNorm {
		list = append(list, sized{&a.qkv, 4 * n * (c.Heads + 2*c.KVHeads) * c.HeadDim})
	}
	return list
}

func (e *Engine) allocArena() error {
	if err := e.allocSized("activations", e.arenaSizes()); err != nil {
		return err
	}
	rec := e.device.NewRecorder(false)
	rec.Fill(e.arena.counts, 0)
	rec.Fill(e.arena.sumCounts, 0)
	return rec.Run()
}

func (e *Engine) allocSized(what string, list []sized) error {
	for _, b := range list {
		var err error
		if *b.to, err = e.device.Alloc(vk.Local, uint64(b.size)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

func (a *arena) all() []vk.Buffer {
	return append(a.shared.all(), a.x, a.h, a.qkv, a.ff, a.hl, a.logits, a.counts, a.shares, a.sums, a.sumCounts, a.scratch)
}

// grow makes a buffer at least size bytes large; its contents are lost. Where
// there is no room it stays as it is: what it served before still runs. What was
// recorded with its address is forgotten, once it has run.
func (e *Engine) grow(buf *vk.Buffer, kind vk.Kind, size int) error {
	if buf.Size >= uint64(size) {
		return nil
	}
	fresh, err := e.device.Alloc(kind, max(uint64(size), 256))
	if err != nil {
		return err
	}
	old := *buf
	*buf = fresh
	e.recordings.forget()
	if old.Size == 0 {
		return nil // nothing runs that needs it
	}
	err = e.frames.settle()
	e.device.Free(old)
	return err
}

// makeRoom is grow for what one step after the other needs a little more of: to
// twice as much, if there is room. A step that grows a buffer waits for those before it, and where it
// has been submitted in part for itself, while its results are not there yet.
func (e *Engine) makeRoom(buf *vk.Buffer, kind vk.Kind, size int) error {
	if buf.Size >= uint64(size) {
		return nil
	}
	room := 1 << 16
	for room < size {
		room *= 2
	}
	err := e.grow(buf, kind, room)
	if errors.Is(err, ErrOutOfMemory) {
		err = e.grow(buf, kind, size)
	}
	return err
}

// extend makes a buffer of device memory larger as grow does, and keeps what is in it.
func (e *Engine) extend(buf *vk.Buffer, size int) error {
	old := *buf
	if old.Size >= uint64(size) {
		return nil
	}
	*buf = vk.Buffer{}
	if err := e.grow(buf, vk.Local, size); err != nil {
		*buf = old
		return err
	}
	rec := e.device.NewRecorder(false)
	rec.Copy(*buf, 0, old, 0, old.Size)
	err := rec.Run()
	e.device.Free(old)
	return err
}
