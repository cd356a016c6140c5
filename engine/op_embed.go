package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// Embed gathers rows of the embedding: X[t] = W[Tokens[t]].
type Embed struct {
	W      vk.Range // [Vocab, Width] in the weight type
	Tokens vk.Range // [Rows] int32, each below Vocab: the caller checks
	X      vk.Range // [Rows, Width] float32

	Rows, Width, Vocab int
}

type embedPush struct {
	w, tokens, x uint64
	rows, n      uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(embedPush{})

// Embed records the op.
func (k *Kernels) Embed(rec *vk.Recorder, e Embed) error {
	if err := firstError(quads("embed", e.Width), positive("embed", e.Rows, e.Vocab), require("embed",
		field{"W", e.W, e.Vocab * e.Width * k.Weight.Size()},
		field{"Tokens", e.Tokens, 4 * e.Rows},
		field{"X", e.X, 4 * e.Rows * e.Width})); err != nil {
		return err
	}
	wg := k.Tuning.MapWorkgroup
	p, err := k.pipeline(k.names.embed, wg)
	if err != nil {
		return err
	}
	push := embedPush{e.W.Address, e.Tokens.Address, e.X.Address, uint32(e.Rows), uint32(e.Width)}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(ceil(e.Width/4, int(wg))), uint32(e.Rows), 1},
		Reads:  []vk.Range{e.W, e.Tokens}, Writes: []vk.Range{e.X},
		Work: vk.Work{Bytes: float64(e.Rows * e.Width * (4 + k.Weight.Size()))},
	})
	return nil
}
