package shaders

// Vector is a shape of the linear_vector kernel.
type Vector struct {
	MaxRows   int
	MaxOut    int // most outputs of all parts; 0: any
	Workgroup uint32
	Columns   uint32 // outputs of a subgroup, a multiple of 4
	Depth     uint32 // 16-byte loads of each output that a lane has under way
	SplitK    bool   // the subgroups of a workgroup have the same outputs, each a part of K
}

// Holds tells whether the shape is for products of so many outputs.
func (v Vector) Holds(out int) bool { return v.MaxOut == 0 || out <= v.MaxOut }

// ShrinkVector is a shape of the shrink_vector and norm_vector kernels; the zero
// value: they are not used.
type ShrinkVector struct {
	Workgroup uint32
	Ranks     uint32 // of a workgroup
	Depth     uint32 // 16-byte loads of each rank that a lane has under way
}

// Few is a shape of the linear_few kernel.
type Few struct {
	MaxRows   int
	MaxOut    int // most outputs of all parts; 0: any
	Workgroup uint32
	Rows      uint32 // BM: of a tile
	Columns   uint32 // BN: outputs of a tile
	Depth     uint32 // BK: numbers of K in a stage
	Across    uint32 // subgroups side by side over the outputs; the others of the workgroup share K
	Groups    int    // workgroups that keep the device busy
}

// VectorFor picks the matrix-vector shape for a number of rows and of outputs; nil:
// too many rows.
func (t Tuning) VectorFor(rows, out int) *Vector {
	for _, v := range t.Vector {
		if rows <= v.MaxRows && v.Holds(out) {
			return &v
		}
	}
	return nil
}

// FewFor picks the shape of cooperative matrices for a number of rows and of
// outputs; nil: too many rows.
func (t Tuning) FewFor(rows, out int) *Few {
	for _, f := range t.Few {
		if rows <= f.MaxRows && (f.MaxOut == 0 || out <= f.MaxOut) {
			return &f
		}
	}
	return nil
}
