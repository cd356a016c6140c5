package engine

import (
	"unsafe"

	"loquetier/engine/vk"
)

// Gather copies rows: Y[i] = X[List[i]].
type Gather struct {
	X    vk.Range // [., Width], in a type of Size bytes
	List vk.Range // [Rows] int32, each a row of X: the caller checks
	Y    vk.Range // [Rows, Width], apart from X

	Rows, Width, Size int
}

type gatherPush struct {
	x, list, y uint64
	n, _       uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(gatherPush{})

// Gather records the op.
func (k *Kernels) Gather(rec *vk.Recorder, g Gather) error {
	const piece = 8 // bytes of an invocation
	bytes := g.Rows * g.Width * g.Size
	if err := firstError(quads("gather", g.Width), positive("gather", g.Rows, g.Size/2), require("gather",
		field{"List", g.List, 4 * g.Rows}, field{"Y", g.Y, bytes})); err != nil {
		return err
	}
	wg := k.Tuning.MapWorkgroup
	p, err := k.pipeline("gather", wg)
	if err != nil {
		return err
	}
	n := g.Width * g.Size / piece
	push := gatherPush{x: g.X.Address, list: g.List.Address, y: g.Y.Address, n: uint32(n)}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: [3]uint32{uint32(ceil(n, int(wg))), uint32(g.Rows), 1},
		Reads: []vk.Range{g.X, g.List}, Writes: []vk.Range{g.Y}, Work: vk.Work{Bytes: float64(2 * bytes)},
	})
	return nil
}
