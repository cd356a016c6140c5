package engine

import (
	"fmt"

	"loquetier/engine/vk"
	"loquetier/shaders"
)

// takesVector tells whether the linear_vector kernel computes a product in a shape: not where
// rows are no whole 16-byte pieces, nor on devices whose subgroups cannot sum.
func (k *Kernels) takesVector(l Linear, v shaders.Vector) bool {
	return l.In*k.Weight.Size()%16 == 0 && k.device.Info.SubgroupArithmetic && v.Holds(l.Width(Plain))
}

// FusesNorm tells whether Linear can norm the rows of a product's input by itself,
// and is to: where there are so few rows that the tuning leaves them to linear_vector.
func (k *Kernels) FusesNorm(p Product, rows int) bool {
	return k.tunedWay(Linear{Product: p, Rows: rows}).Vector != nil
}

// linearVector records the product for a handful of rows.
func (k *Kernels) linearVector(rec *vk.Recorder, l Linear, v shaders.Vector) error {
	if l.In*k.Weight.Size()%16 != 0 {
		return fmt.Errorf("BUG: linear_vector: rows of %d weights", l.In)
	}
	rows := min(l.Rows, v.MaxRows)
	p, err := k.pipeline(k.byPair("linear_vector"), v.Workgroup, uint32(rows), v.Columns, uint32(l.Epilogue), v.Depth,
		bit(l.Slots.Size > 0), bit(l.Norm.Size > 0), bit(v.SplitK))
	if err != nil {
		return err
	}
	teams := 1 // of a workgroup
	if !v.SplitK {
		teams = max(1, int(v.Workgroup)/k.device.Info.SubgroupSize)
	}
	k.recordLinear(rec, l, p, [3]uint32{uint32(ceil(l.tiles(int(v.Columns)), teams)), uint32(ceil(l.Rows, rows)), 1}, 1)
	return nil
}
