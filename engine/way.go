package engine

import (
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// linearWay picks the kernel family and its sizes for a product: forced by the
// caller, the fastest of those measured on this device, or what the tuning says.
func (k *Kernels) linearWay(l Linear) shaders.Way {
	if l.Way != (shaders.Way{}) {
		return l.Way
	}
	if w := k.Choices.For(l.class()); k.takes(l, w) && (l.Rows <= mostMixed || !k.manyAdapters(l)) {
		return w
	}
	return k.tunedWay(l)
}

// tunedWay is the tuning's choice.
func (k *Kernels) tunedWay(l Linear) shaders.Way {
	t := k.Tuning
	out := l.Width(Plain)
	few, ways := shaders.Way{Few: t.FewFor(l.Rows, out)}, []shaders.Way{{Vector: t.VectorFor(l.Rows, out)}}
	if k.manyAdapters(l) {
		ways = append(ways, few)
	}
	if k.sharesTiles(l) {
		ways = append(ways, shaders.Way{Matrix: &t.MatrixShared})
	}
	enough := k.enoughForMatrix(l)
	if !enough {
		ways = append(ways, few)
	}
	if k.enoughForMatrix2(l) {
		ways = append(ways, shaders.Way{Matrix2: true})
	}
	if t.MatrixRows > 0 && l.Rows >= t.MatrixRows {
		ways = append(ways, shaders.Way{Matrix: &t.Matrix})
	} else if enough {
		ways = append(ways, shaders.Way{Matrix: &t.MatrixLow})
	}
	for _, w := range append(ways, few) {
		if k.takes(l, w) {
			return w
		}
	}
	tile := t.TileFor(l.Rows)
	return shaders.Way{Tile: &tile}
}

// enoughForMatrix tells whether a product of rows that Few takes keeps the device
// busier on matrices: where it fills half of the rows of MatrixLow's tiles, and there are as
// many as the tuning wants. Where some rows have adapters, each may have another one, and
// what that costs grows with their number; Few takes them as they come.
func (k *Kernels) enoughForMatrix(l Linear) bool {
	low, most := k.Tuning.MatrixLow, k.Tuning.MatrixTiles
	if most == 0 || 2*l.Rows <= int(low.Rows) || l.Slots.Size > 0 && l.Rows <= int(low.Rows) {
		return false
	}
	return l.tiles(int(low.Columns))*ceil(l.Rows, int(low.Rows)) >= most
}

// sharesTiles tells whether a product consists of so few tiles that workgroups share them.
func (k *Kernels) sharesTiles(l Linear) bool {
	return l.Rows >= k.Tuning.MatrixRows && l.matrixSplits(k.Tuning.MatrixShared) > 1
}

// manyAdapters tells whether rows that Few takes change adapters so often that
// matrices, which pay for each run of rows in a tile, are the slower. Ways of products of more
// than mostMixed rows are measured with one adapter for all, and say nothing about those.
func (k *Kernels) manyAdapters(l Linear) bool {
	const leastRun = 8
	return l.Slots.Size > 0 && l.Run < leastRun && k.Tuning.FewFor(l.Rows, l.Width(Plain)) != nil
}

// takes tells whether a way computes a product on this device. The zero value
// computes none.
func (k *Kernels) takes(l Linear, w shaders.Way) bool {
	switch {
	case w.Vector != nil:
		return k.takesVector(l, *w.Vector)
	case l.Norm.Size > 0:
		return false
	case w.Few != nil:
		return k.takesFew(l, *w.Few)
	case w.Matrix2:
		return k.takesMatrix2(l)
	case w.Matrix != nil:
		return k.takesMatrix(l.Product, *w.Matrix, l.In) && (w.Matrix.Groups == 0 || l.matrixSplits(*w.Matrix) > 1)
	}
	return w.Tile != nil
}

// class is a product's.
func (l Linear) class() shaders.Class {
	return shaders.Class{Gated: l.Epilogue.gated(), Adapters: l.Slots.Size > 0, Rows: l.Rows, In: l.In, Out: l.Width(Plain)}
}

// gradWay is linearWay for a product's gradient.
func (k *Kernels) gradWay(l LinearGrad) shaders.Way {
	if l.Way != (shaders.Way{}) {
		return l.Way
	}
	if w := k.Choices.For(l.class()); k.takesGrad(l, w) {
		return w
	}
	return k.tunedGradWay(l)
}

// tunedGradWay is the tuning's choice.
func (k *Kernels) tunedGradWay(l LinearGrad) shaders.Way {
	t := k.Tuning
	if k.enoughForGradMatrix2(l) && k.takesGradMatrix2(l) {
		return shaders.Way{Matrix2: true}
	}
	w := shaders.Way{Matrix: k.matrixOfGrad(l)}
	if w.Matrix == nil || !k.takesMatrix(l.Product, *w.Matrix, l.Outs...) {
		return shaders.Way{Tile: &t.LinearGrad}
	}
	return w
}

// matrixOfGrad is the tuning's tile of matrices for a gradient; nil: too few rows.
func (k *Kernels) matrixOfGrad(l LinearGrad) *shaders.MatrixTile {
	t := k.Tuning
	switch {
	case t.GradRows == 0 || l.Rows < t.GradRows:
		return nil
	case l.matrixSplits(t.MatrixShared) > 1:
		return &t.MatrixShared
	case l.Rows <= t.GradLowRows:
		return &t.MatrixLow
	case l.matrixTiles(t.MatrixGrad) >= t.MatrixMany:
		return &t.MatrixGrad
	}
	return &t.Matrix
}

// takesGrad is takes for a product's gradient.
func (k *Kernels) takesGrad(l LinearGrad, w shaders.Way) bool {
	switch {
	case w.Matrix2:
		return k.takesGradMatrix2(l)
	case w.Matrix != nil:
		return k.takesMatrix(l.Product, *w.Matrix, l.Outs...) && (w.Matrix.Groups == 0 || l.matrixSplits(*w.Matrix) > 1)
	}
	return w.Tile != nil
}

func (l LinearGrad) class() shaders.Class {
	return shaders.Class{Grad: true, Adapters: l.Slots.Size > 0, Rows: l.Rows, In: l.In, Out: l.Width(Plain)}
}

// matrixShape is the shape of the device's cooperative matrices of the
// activation type; zero where products on them are not to be had.
func (k *Kernels) matrixShape() vk.Shape {
	switch k.Act {
	case weights.F16:
		return k.device.Info.MatrixF16
	case weights.BF16:
		return k.device.Info.MatrixBF16
	}
	return vk.Shape{}
}

// takesMatrix tells whether a product, or its gradient, runs on cooperative matrices
// in a tile: it takes a whole number of tiles along each of the inner dimensions, so
// ragged ones are left to the kernels that run everywhere.
func (k *Kernels) takesMatrix(p Product, t shaders.MatrixTile, inner ...int) bool {
	if k.matrixShape() == (vk.Shape{}) || t.Depth == 0 || int(t.Subgroups())*k.device.Info.SubgroupSize > k.device.Info.MaxWorkgroup {
		return false
	}
	for _, n := range inner {
		if n%int(t.Depth) != 0 {
			return false
		}
	}
	return p.In%8 == 0 && p.step() == 4
}

// matrixConstants are the specialization constants of matrix.glsl, in order.
func (k *Kernels) matrixConstants(t shaders.MatrixTile) []uint32 {
	shape := k.matrixShape()
	workgroup := t.Subgroups() * uint32(k.device.Info.SubgroupSize)
	return []uint32{workgroup, t.Rows, t.Columns, t.Depth, t.SubgroupRows, t.SubgroupColumns, t.Shares, uint32(shape.M), uint32(shape.N), uint32(shape.K)}
}
