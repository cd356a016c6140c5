package engine

import (
	"slices"

	"loquetier/engine/vk"
	"loquetier/shaders"
)

// linearMatrix records the product on cooperative matrices.
func (k *Kernels) linearMatrix(rec *vk.Recorder, l Linear, t shaders.MatrixTile) error {
	splits := l.matrixSplits(t)
	p, err := k.pipeline(k.byAct("linear_matrix"), append(k.matrixConstants(t), uint32(l.Epilogue), l.mixture(t.Rows), bit(splits > 1))...)
	if err != nil {
		return err
	}
	groups, err := sharedGrid("linear_matrix", t, l.matrixTiles(t), splits, l.Scratch, l.Counts)
	if err != nil {
		return err
	}
	k.recordLinear(rec, l, p, groups, splits)
	return nil
}

// matrixTiles is the number of tiles of a shape that the product consists of.
func (l Linear) matrixTiles(t shaders.MatrixTile) int {
	return l.tiles(int(t.Columns)) * ceil(l.Rows, int(t.Rows))
}

// matrixSplits is how many workgroups share each of them.
func (l Linear) matrixSplits(t shaders.MatrixTile) int {
	if l.Scratch.Size == 0 || t.Groups == 0 {
		return 1
	}
	return t.Splits(l.matrixTiles(t), l.In)
}

// sharedGrid is the workgroups of a product of so many tiles, each shared by splits of
// them. It returns an error where there is no room for their sums, or for a counter of each tile.
func sharedGrid(op string, t shaders.MatrixTile, tiles, splits int, scratch, counts vk.Range) (groups [3]uint32, err error) {
	groups = grid(tiles)
	groups[2] = uint32(splits)
	if splits > 1 {
		err = require(op, field{"Scratch", scratch, 4 * tiles * splits * int(t.Rows*t.Columns)}, field{"Counts", counts, 4 * tiles})
	}
	return groups, err
}

// SharedSizes is the bytes of Scratch and Counts with which every product whose tiles
// workgroups share has room, in the tuning's shapes.
func (k *Kernels) SharedSizes() (scratch, counts int) {
	scratch, counts = 4, 4 // a buffer has some size
	if k.matrixShape() == (vk.Shape{}) {
		return scratch, counts
	}
	room := func(groups int, rows, columns uint32) {
		scratch, counts = max(scratch, 4*groups*int(rows*columns)), max(counts, 4*groups)
	}
	for _, f := range slices.Concat(k.Tuning.Few, k.Tuning.Trials.Few) {
		room(f.Groups, f.Rows, f.Columns)
	}
	for _, t := range k.Tuning.Matrices() {
		room(t.Groups, t.Rows, t.Columns)
	}
	return scratch, counts
}
