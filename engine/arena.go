package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// logitRows is the number of rows whose logits are in memory at a time.
const logitRows = 64

// arena holds the activations of one step, sized once for the most rows.
type arena struct {
	x      vk.Buffer // [rows, hidden] float32: the residual stream
	h      vk.Buffer // [rows, hidden]: normed
	qkv    vk.Buffer // [rows, q + k + v] float32
	q      vk.Buffer // [rows, heads * size] float32, rotated
	att    vk.Buffer // [rows, heads * size]
	ff     vk.Buffer // [rows, intermediate]
	hl     vk.Buffer // [logitRows, hidden]: the rows whose logits are wanted
	logits vk.Buffer // [logitRows, vocab] float32
	counts vk.Buffer // decode attention's counters, always zero between steps

	// Grown when a step or an adapter needs more.
	v       vk.Buffer // the shrink's results
	scratch vk.Buffer // decode attention's parts
	ids     vk.Buffer // sampled tokens, mapped
	logs    vk.Buffer // their log-probabilities, mapped
	kept    vk.Buffer // raw logits that were asked for, mapped
}

// sizes lists the fixed buffers with their bytes, which the memory plan sums.
func (e *Engine) arenaSizes() []struct {
	to   *vk.Buffer
	size int
} {
	c, a, n, act := e.checkpointConfig, &e.arena, e.config.MaxRows, e.precision.Act.Size()
	q := c.Heads * c.HeadDim
	return []struct {
		to   *vk.Buffer
		size int
	}{
		{&a.x, 4 * n * c.HiddenSize}, {&a.h, act * n * c.HiddenSize},
		{&a.qkv, 4 * n * (q + 2*c.KVHeads*c.HeadDim)}, {&a.q, 4 * n * q}, {&a.att, act * n * q},
		{&a.ff, act * n * c.IntermediateSize}, {&a.hl, act * logitRows * c.HiddenSize},
		{&a.logits, 4 * logitRows * c.VocabSize}, {&a.counts, 4 * n * c.KVHeads},
	}
}

func (e *Engine) allocArena() error {
	for _, b := range e.arenaSizes() {
		var err error
		if *b.to, err = e.device.Alloc(vk.Local, uint64(b.size)); err != nil {
			return fmt.Errorf("activations: %w", err)
		}
	}
	rec := e.device.NewRecorder(false)
	rec.Fill(e.arena.counts, 0)
	return rec.Run()
}

func (a *arena) all() []vk.Buffer {
	return []vk.Buffer{a.x, a.h, a.qkv, a.q, a.att, a.ff, a.hl, a.logits, a.counts, a.v, a.scratch, a.ids, a.logs, a.kept}
}

// grow makes a buffer at least size bytes large; its contents are lost.
func (e *Engine) grow(buf *vk.Buffer, kind vk.Kind, size int) error {
	if buf.Size >= uint64(size) {
		return nil
	}
	e.device.Free(*buf)
	*buf = vk.Buffer{}
	fresh, err := e.device.Alloc(kind, max(uint64(size), 256))
	if err != nil {
		return err
	}
	*buf = fresh
	return nil
}

// growShrink makes room for the shrink results of adapters up to a rank.
func (e *Engine) growShrink(maxRank int) error {
	if err := e.grow(&e.arena.v, vk.Local, 4*e.config.MaxRows*3*maxRank); err != nil {
		return fmt.Errorf("room for rank %d: %w", maxRank, err)
	}
	return nil
}
