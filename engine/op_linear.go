package engine

import (
	"fmt"
	"unsafe"

	"loquetier/engine/vk"
	"loquetier/shaders"
)

// Epilogue is what a linear product does with its sums.
type Epilogue uint32

// Epilogues, numbered as in linear.comp.
const (
	Plain    Epilogue = iota // Y = sums, float32
	Add                      // Y += sums, float32: the residual stream
	SiLU                     // Y = silu(part 0) * part 1, in the activation type
	SiLUKeep                 // as SiLU, and Keep = the parts side by side, in the activation type
)

// gated tells whether two parts make one output.
func (e Epilogue) gated() bool { return e == SiLU || e == SiLUKeep }

// Product is the fixed side of a linear product: up to three modules that
// share their input. It mirrors Part in smlm.glsl.
type Product struct {
	Table   vk.Range // the parts in device memory
	Weights []vk.Range
	In      int
	Outs    []int // outputs of each module
}

// maxParts is the most modules of a product.
const maxParts = 3

// partBytes is the size of a Part in smlm.glsl.
const partBytes = 32

// Width is the number of columns of Y for an epilogue.
func (p Product) Width(e Epilogue) int {
	if e.gated() {
		return p.Outs[0]
	}
	n := 0
	for _, out := range p.Outs {
		n += out
	}
	return n
}

// LoRA is the moving side of adapters in a product; the zero value is none.
type LoRA struct {
	V      vk.Range // [Rows, parts, Stride] float32: what the shrink left
	Slots  vk.Range // [Rows] int32: slot of each row, -1 for the base
	Stride int      // a multiple of 4, at least every adapter's padded rank
	Gains  bool     // some adapter has a DoRA gain
	Run    int      // every run of Run rows, from a multiple of it on, has one slot; 0 or 1: any
	Reads  []vk.Range
}

// Linear is Y = X . W^T with LoRA, gain, bias and epilogue.
type Linear struct {
	Product
	LoRA
	X        vk.Range // [Rows, In] in the activation type
	Y        vk.Range // [Rows, Width]
	Keep     vk.Range // [Rows, 2*Outs[0]] in the activation type: with SiLUKeep, gate and up before the activation
	Rows     int
	Epilogue Epilogue
	Norm     vk.Range // [In] float32: X is the float32 residual stream and normed on its way in, as by Norm with this gain; null: not
	Eps      float32  // with Norm
	Scratch  vk.Range // room for the sums of workgroups that share a tile's K, and their counters: zero
	Counts   vk.Range // before and after; without them, none share

	shaders.Way // forced, for tests and measurements; the zero value: chosen
}

type linearPush struct {
	x, parts, v, slots, y, keep      uint64
	rows, k, count, yStride, vStride uint32
	gains                            uint32
	g                                uint64 // this and eps: not in linear.comp
	eps                              float32
	splits                           uint32
	scratch, counts                  uint64
}

const _ = vk.MaxPush - unsafe.Sizeof(linearPush{})

// Linear records the op.
func (k *Kernels) Linear(rec *vk.Recorder, l Linear) error {
	if err := k.checkLinear(l); err != nil {
		return err
	}
	w := k.linearWay(l)
	switch {
	case w.Vector != nil:
		return k.linearVector(rec, l, *w.Vector)
	case w.Few != nil:
		return k.linearFew(rec, l, *w.Few)
	case w.Matrix2:
		return k.linearMatrix2(rec, l)
	case w.Matrix != nil:
		return k.linearMatrix(rec, l, *w.Matrix)
	}
	return k.linearTile(rec, l, *w.Tile)
}

// linearTile records the kernel that runs everywhere.
func (k *Kernels) linearTile(rec *vk.Recorder, l Linear, tile shaders.Tile) error {
	p, err := k.pipeline(k.byPair("linear"),
		tile.Workgroup, tile.Rows, tile.Columns, uint32(l.Epilogue), bit(tile.SplitK), l.mixture(tile.Rows))
	if err != nil {
		return err
	}
	k.recordLinear(rec, l, p, l.groups(tile), 1)
	return nil
}

// columns are the outputs to cover with tiles of a width, and the columns that
// such a tile takes of a part: half of it where it has two.
func (l Linear) columns(tile int) (wide int, outs []int) {
	if l.Epilogue.gated() {
		return tile / 2, l.Outs[:1]
	}
	return tile, l.Outs
}

// tiles is the number of tiles of so many columns that cover the outputs; a
// tile lies in one part, with SiLU half in each.
func (l Linear) tiles(columns int) int {
	wide, outs := l.columns(columns)
	n := 0
	for _, out := range outs {
		n += ceil(out, wide)
	}
	return n
}

// recordLinear records a family's pipeline; all take the same push constants.
// splits workgroups share each tile's K.
func (k *Kernels) recordLinear(rec *vk.Recorder, l Linear, p *vk.Pipeline, groups [3]uint32, splits int) {
	push := linearPush{
		x: l.X.Address, parts: l.Table.Address, v: l.V.Address, slots: l.Slots.Address, y: l.Y.Address, keep: l.Keep.Address,
		rows: uint32(l.Rows), k: uint32(l.In), count: uint32(len(l.Outs)), yStride: uint32(l.Width(l.Epilogue)), vStride: uint32(l.Stride), gains: bit(l.Gains),
		g: l.Norm.Address, eps: l.Eps, splits: uint32(splits), scratch: l.Scratch.Address, counts: l.Counts.Address,
	}
	reads, writes := append(present(l.X, l.Table, l.V, l.Slots, l.Norm), l.LoRA.Reads...), []vk.Range{l.Y}
	switch l.Epilogue {
	case Add:
		reads = append(reads, l.Y)
	case SiLUKeep:
		writes = append(writes, l.Keep)
	}
	if splits > 1 {
		writes = append(writes, l.Scratch, l.Counts)
	}
	rec.Dispatch(vk.Dispatch{Pipeline: p, Push: vk.Push(&push), Groups: groups, Reads: reads, Writes: writes, Work: k.linearWork(l)})
}

func (k *Kernels) checkLinear(l Linear) error {
	if len(l.Outs) == 0 || len(l.Outs) > maxParts || len(l.Weights) != len(l.Outs) {
		return fmt.Errorf("BUG: linear: %d parts with %d weights", len(l.Outs), len(l.Weights))
	}
	if l.Epilogue.gated() && (len(l.Outs) != 2 || l.Outs[0] != l.Outs[1] || l.Outs[0]%4 != 0) {
		return fmt.Errorf("BUG: linear: SiLU over outputs %v", l.Outs)
	}
	if err := firstError(quads("linear", l.In), positive("linear", l.Rows), positive("linear", l.Outs...)); err != nil {
		return err
	}
	for i, w := range l.Weights {
		if err := require("linear", field{fmt.Sprintf("W%d", i), w, l.Outs[i] * l.In * k.Weight.Size()}); err != nil {
			return err
		}
	}
	size := 4
	if l.Epilogue.gated() {
		size = k.Act.Size()
	}
	input := k.Act.Size()
	if l.Norm.Size > 0 {
		input = 4
	}
	fields := []field{
		{"X", l.X, l.Rows * l.In * input},
		{"Table", l.Table, len(l.Outs) * partBytes},
		{"Y", l.Y, l.Rows * l.Width(l.Epilogue) * size},
	}
	if l.Norm.Size > 0 {
		fields = append(fields, field{"Norm", l.Norm, 4 * l.In})
	}
	if l.Epilogue == SiLUKeep {
		fields = append(fields, field{"Keep", l.Keep, k.Act.Size() * l.Rows * 2 * l.Outs[0]})
	}
	if l.Slots.Size > 0 {
		if err := quads("linear", l.Stride); err != nil {
			return err
		}
		fields = append(fields, field{"Slots", l.Slots, 4 * l.Rows}, field{"V", l.V, 4 * l.Rows * len(l.Outs) * l.Stride})
	}
	return require("linear", fields...)
}

// mixture is the kernel's ADAPTERS for tiles of a height: 0 for none, 1 for
// tiles of one adapter each, 2 for mixed tiles.
func (l LoRA) mixture(rows uint32) uint32 {
	switch {
	case l.Slots.Size == 0:
		return 0
	case rows == 1 || l.Run > 0 && l.Run%int(rows) == 0:
		return 1
	}
	return 2
}

// groups covers Y; a workgroup lies in one part, with SiLU in both.
func (l Linear) groups(t shaders.Tile) [3]uint32 {
	span, outs := int(t.Columns), l.Outs
	if l.Epilogue.gated() {
		span, outs = span/2, outs[:1]
	}
	if !t.SplitK {
		span *= int(t.Workgroup)
	}
	groups := 0
	for _, n := range outs {
		groups += ceil(n, span)
	}
	return [3]uint32{uint32(groups), uint32(ceil(l.Rows, int(t.Rows))), 1}
}

func (k *Kernels) linearWork(l Linear) vk.Work {
	n := 0
	for _, out := range l.Outs {
		n += out
	}
	return vk.Work{
		Bytes: float64(n*l.In*k.Weight.Size() + l.Rows*l.In*k.Act.Size() + 4*l.Rows*n),
		Flops: 2 * float64(l.Rows) * float64(n) * float64(l.In),
	}
}
