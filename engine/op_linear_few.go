package engine

import (
	"fmt"

	"loquetier/engine/vk"
	"loquetier/shaders"
)

// takesFew tells whether the linear_few kernel computes a product in a shape: not of
// types and on devices without cooperative matrices, nor where rows are no whole 16-byte pieces.
func (k *Kernels) takesFew(l Linear, f shaders.Few) bool {
	return l.In%8 == 0 && k.matrixShape() != (vk.Shape{}) && f.Across*uint32(k.device.Info.SubgroupSize) <= f.Workgroup
}

// linearFew records the product for a few rows.
func (k *Kernels) linearFew(rec *vk.Recorder, l Linear, f shaders.Few) error {
	if l.In%8 != 0 || l.Norm.Size > 0 {
		return fmt.Errorf("BUG: linear_few: rows of %d weights, norm %v", l.In, l.Norm.Size > 0)
	}
	m := k.matrixShape()
	p, err := k.pipeline(k.byAct("linear_few"), f.Workgroup, f.Rows, f.Columns, uint32(l.Epilogue), f.Depth, bit(l.Slots.Size > 0), f.Across,
		uint32(k.device.Info.SubgroupSize), uint32(m.M), uint32(m.N), uint32(m.K))
	if err != nil {
		return err
	}
	tiles, high := l.tiles(int(f.Columns)), ceil(l.Rows, int(f.Rows))
	splits := l.splits(f)
	if splits > 1 {
		if err := require("linear_few", field{"Scratch", l.Scratch, l.fewScratch(f)}, field{"Counts", l.Counts, 4 * tiles * high}); err != nil {
			return err
		}
	}
	k.recordLinear(rec, l, p, [3]uint32{uint32(tiles), uint32(high), uint32(splits)}, splits)
	return nil
}

// splits is how many workgroups share a tile's K: as many as fill the device,
// none with fewer than four stages.
func (l Linear) splits(f shaders.Few) int {
	if l.Scratch.Size == 0 {
		return 1
	}
	tiles := l.tiles(int(f.Columns)) * ceil(l.Rows, int(f.Rows))
	return max(1, min(ceil(l.In, 4*int(f.Depth)), f.Groups/tiles))
}

// fewScratch is the bytes of Scratch that a product takes in a shape.
func (l Linear) fewScratch(f shaders.Few) int {
	return 4 * l.tiles(int(f.Columns)) * ceil(l.Rows, int(f.Rows)) * l.splits(f) * int(f.Rows*f.Columns)
}
