package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// Embed gathers rows of the embedding: X[t] = W[Tokens[t]], where a token ~i
// stands for Picks[i], or the last of the vocabulary where that is outside it.
type Embed struct {
	W      vk.Range // [Vocab, Width] in the weight type
	Tokens vk.Range // [Rows] int32, each below Vocab, or ~i with i inside Picks: the caller checks
	Picks  vk.Range // int32; may be null
	X      vk.Range // [Rows, Width] float32

	Rows, Width, Vocab int
}

type embedPush struct {
	w, tokens, picks, x uint64
	rows, n, vocab      uint32
	_                   uint32
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
	p, err := k.pipeline("embed-"+storageName(k.Weight), wg)
	if err != nil {
		return err
	}
	push := embedPush{
		w: e.W.Address, tokens: e.Tokens.Address, picks: e.Picks.Address, x: e.X.Address,
		rows: uint32(e.Rows), n: uint32(e.Width), vocab: uint32(e.Vocab),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(ceil(e.Width/4, int(wg))), uint32(e.Rows), 1},
		Reads:  present(e.W, e.Tokens, e.Picks), Writes: []vk.Range{e.X},
		Work: vk.Work{Bytes: float64(e.Rows * e.Width * (4 + k.Weight.Size()))},
	})
	return nil
}
