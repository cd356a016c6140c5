package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// Dora computes Gain = Magnitude / |W + Scale * B . A| for each output, once
// when a DoRA adapter is attached.
type Dora struct {
	W         vk.Range // [Out, In] in the weight type
	A         vk.Range // [Rank, In] in the activation type
	B         vk.Range // [Out, Rank]
	Magnitude vk.Range // [Out] float32
	Gain      vk.Range // [Out] float32
	Scale     float32

	Out, In, Rank int // Rank is padded to a multiple of 4
}

type doraPush struct {
	w, a, b, magnitude, gain uint64
	n, k, rank               uint32
	scale                    float32
}

const _ = vk.MaxPush - unsafe.Sizeof(doraPush{})

// Dora records the op.
func (k *Kernels) Dora(rec *vk.Recorder, d Dora) error {
	size := k.Act.Size()
	if err := firstError(quads("dora", d.In, d.Rank), positive("dora", d.Out), require("dora",
		field{"W", d.W, d.Out * d.In * k.Weight.Size()},
		field{"A", d.A, d.Rank * d.In * size}, field{"B", d.B, d.Out * d.Rank * size},
		field{"Magnitude", d.Magnitude, 4 * d.Out}, field{"Gain", d.Gain, 4 * d.Out})); err != nil {
		return err
	}
	p, err := k.pipeline(k.byPair("dora"), k.Tuning.DoraWorkgroup)
	if err != nil {
		return err
	}
	push := doraPush{
		w: d.W.Address, a: d.A.Address, b: d.B.Address, magnitude: d.Magnitude.Address, gain: d.Gain.Address,
		n: uint32(d.Out), k: uint32(d.In), rank: uint32(d.Rank), scale: d.Scale,
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(d.Out),
		Reads: []vk.Range{d.W, d.A, d.B, d.Magnitude}, Writes: []vk.Range{d.Gain},
		Work: vk.Work{Bytes: float64(d.Out * d.In * k.Weight.Size()), Flops: 2 * float64(d.Out) * float64(d.In) * float64(d.Rank+1)},
	})
	return nil
}
