package shaders

import "fmt"

// A Tuning is one row of the table of tile and workgroup sizes: how the same
// kernels are shaped for one sort of device. All sizes are specialization constants.
type Tuning struct {
	Name string

	// Tile shapes of the linear product by number of rows: the first whose
	// MaxRows is at least the rows of the step; the last one's is 0, for any.
	Linear []Tile

	// Of the linear product by matrix-vector, for few rows on a GPU: the first whose
	// MaxRows is at least the rows of the step and which holds the outputs; none for more rows.
	Vector []Vector

	// Of the linear product by cooperative matrices for few rows: the first whose
	// MaxRows and MaxOut are at least the rows and the outputs; none for more rows.
	Few []Few

	// Of the linear product's gradient: Columns are those of an invocation.
	LinearGrad Tile

	// Of products on cooperative matrices, for that many rows or more; 0: never.
	MatrixRows int
	Matrix     MatrixTile

	// Of fewer rows, where products consist of that many tiles of MatrixLow or more, in
	// place of Few; and of gradients. 0: never.
	MatrixTiles int
	MatrixLow   MatrixTile // also of gradients of up to GradLowRows rows

	// Of the product's gradient, for that many rows or more; 0: never. MatrixGrad is used
	// where it consists of MatrixMany tiles or more, Matrix for fewer.
	GradRows, GradLowRows int
	MatrixGrad            MatrixTile
	MatrixMany            int

	// Of products of MatrixRows rows or more, and of gradients of GradRows or more, that consist
	// of so few tiles that workgroups share them; zero: none do.
	MatrixShared MatrixTile

	// Of products on a workgroup's cooperative matrices, that many tiles or more; 0: never.
	Matrix2Tiles int

	Trials Trials // of products, where they are measured on the device

	ShrinkWorkgroup  uint32       // invocations, for shrink and for norm, which holds a shrink
	ShrinkRows       uint32       // most rows of a tile; steps with shorter runs take a smaller power of two
	ShrinkRanks      uint32       // most ranks a lane computes; with ShrinkSplitK those of a workgroup
	ShrinkSplitK     bool         // lanes over K instead of over ranks
	ShrinkVector     ShrinkVector // of shrink_vector and norm_vector
	ShrinkGradQuads  uint32       // with ShrinkSplitK: how many times four ranks a workgroup of the gradient computes
	Tall             Tall         // the shrinks of many rows
	LoRAGrad         Outer
	AdapterMatrix    OnMatrices // in place of Tall and LoRAGrad where the device has the matrices; zero: never
	CrossEntropy     Sweep
	PrefillWorkgroup uint32
	PrefillLanes     uint32          // invocations that share a query; more than 1 needs subgroup shuffles
	PrefillMatrix    []AttentionTile // of attention over cooperative matrices: the first that the device takes; none: not used
	GradQMatrix      []AttentionTile
	GradKVMatrix     []AttentionTile
	GradKVGroups     int    // workgroups up to which query heads that share a key head are divided among them
	GradWorkgroup    uint32 // of attention's gradient by keys and values; that by queries is shaped as prefill is
	GradLanes        uint32 // most invocations that share a key; more than 1 needs subgroup shuffles
	GradPer          uint32 // keys or queries that attention's gradients take at a time: 1, 2 or 4
	DecodeWorkgroup  uint32
	DecodePer        uint32 // keys a lane scores at a time
	DecodeDeep       uint32 // of attention_decode_subgroup: keys of a lane under way at a time; 0: it is not used
	DecodeChunk      int    // keys that make a split of a long context worth its merge
	DecodeGroups     int    // workgroups that keep the device busy
	SampleWorkgroup  uint32
	SampleShare      int    // least logits of a row that are worth a workgroup of their own
	SampleGroups     int    // workgroups that keep the device busy
	MapWorkgroup     uint32 // embed, rope and the backward kernels that are as simple
	DoraWorkgroup    uint32
}

// Tall is a shape of the shrinks of many rows.
type Tall struct {
	From      int    // rows of a step that make it worth while; 0: none do
	Workgroup uint32 // invocations, over what is summed up
	Rows      uint32 // of a tile
	Quads     uint32 // most times four ranks of a workgroup
}

// OnMatrices is a shape of the adapters' kernels of training on cooperative matrices.
type OnMatrices struct {
	Subgroups uint32 // of a shrink's workgroup: each sums a part of the inputs
	Depth     uint32 // inputs of a subgroup at a time, a multiple of 16
	Across    uint32 // subgroups side by side of a sum of outer products, of 32 columns each
	Shares    uint32 // of the rows, each summed by Across subgroups
}

// Outer is a shape of the kernel that sums outer products over rows.
type Outer struct {
	Workgroup uint32
	Shares    uint32 // of the rows, each summed by Workgroup / Shares invocations
	Ahead     uint32 // rows loaded before the first is added
	Quads     uint32 // most times four ranks of an invocation
}

// Sweep is a shape of kernels in which a workgroup reads a row from end to end.
type Sweep struct {
	Workgroup uint32
	Ahead     uint32 // times four numbers that an invocation loads before it uses the first
}

// Tile is a shape of the linear kernel.
type Tile struct {
	MaxRows   int
	Workgroup uint32
	Rows      uint32 // TM
	Columns   uint32 // TN, a multiple of 4
	SplitK    bool   // lanes over K
}

// MatrixTile is a shape of the products on cooperative matrices. A workgroup's
// tile is Rows by Columns, Depth of the inner dimension at a time; a subgroup's part of it
// SubgroupRows by SubgroupColumns, and Shares subgroups share each part along the inner dimension.
type MatrixTile struct {
	Rows, Columns, Depth          uint32
	SubgroupRows, SubgroupColumns uint32
	Shares                        uint32 // 1 or 2
	Groups                        int    // workgroups that keep the device busy: fewer tiles are shared by as many; 0: none is
}

// Splits is how many workgroups share each of so many tiles along an inner dimension:
// none has fewer than four steps.
func (t MatrixTile) Splits(tiles, inner int) int {
	return max(1, min(inner/(4*int(t.Depth)), t.Groups/tiles))
}

// Subgroups is the number of them in a workgroup.
func (t MatrixTile) Subgroups() uint32 {
	return t.Rows / t.SubgroupRows * (t.Columns / t.SubgroupColumns) * t.Shares
}

// AttentionTile is a shape of attention over cooperative matrices: each subgroup has
// rows of scores, queries or (in GradKVMatrix) keys, and walks the columns.
type AttentionTile struct {
	Subgroups uint32 // of a workgroup
	Units     uint32 // fragments of rows of a subgroup; 1 in gradients
	Columns   uint32 // of a step
	Stages    uint32 // buffers of columns in shared memory: 1 or 2
	Hold      bool   // queries stay in registers; in gradients rows always do
	Shared    bool   // scores pass through shared memory even where the device can do without
}

// Tunings is the table. "software": lavapipe, where a workgroup of one vector
// width, tiles in registers and loads shared by all lanes are fast, and
// anything shared between invocations is slow. "gpu": everything else.
func Tunings() []Tuning {
	return []Tuning{
		{
			Name: "software",
			Linear: []Tile{
				{MaxRows: 1, Workgroup: 8, Rows: 1, Columns: 4},
				{MaxRows: 2, Workgroup: 8, Rows: 2, Columns: 4},
				{MaxRows: 4, Workgroup: 8, Rows: 4, Columns: 4},
				{MaxRows: 8, Workgroup: 8, Rows: 8, Columns: 4},
				{Workgroup: 8, Rows: 8, Columns: 8},
			},
			LinearGrad:      Tile{Workgroup: 8, Rows: 8, Columns: 8},
			ShrinkWorkgroup: 8, ShrinkRows: 8, ShrinkRanks: 4,
			LoRAGrad:         Outer{Workgroup: 8, Shares: 1, Ahead: 1, Quads: 2},
			CrossEntropy:     Sweep{Workgroup: 8, Ahead: 1},
			PrefillWorkgroup: 8, PrefillLanes: 1, GradWorkgroup: 8, GradLanes: 1, GradPer: 1,
			DecodeWorkgroup: 8, DecodePer: 4, DecodeChunk: 256, DecodeGroups: 4,
			SampleWorkgroup: 8, SampleShare: 4096, SampleGroups: 2, MapWorkgroup: 8, DoraWorkgroup: 8,
		},
		{
			Name: "gpu",
			Linear: []Tile{
				{MaxRows: 1, Workgroup: 128, Rows: 1, Columns: 4, SplitK: true},
				{MaxRows: 4, Workgroup: 128, Rows: 4, Columns: 4, SplitK: true},
				{MaxRows: 8, Workgroup: 64, Rows: 8, Columns: 4, SplitK: true},
				{Workgroup: 64, Rows: 8, Columns: 4},
			},
			Vector: []Vector{
				{MaxRows: 1, MaxOut: 2048, Workgroup: 128, Columns: 4, Depth: 1, SplitK: true},
				{MaxRows: 1, MaxOut: 4096, Workgroup: 64, Columns: 4, Depth: 1, SplitK: true},
				{MaxRows: 1, Workgroup: 64, Columns: 4, Depth: 1},
				{MaxRows: 2, Workgroup: 64, Columns: 4, Depth: 1},
			},
			Few: []Few{
				{MaxRows: 16, Workgroup: 128, Rows: 16, Columns: 32, Depth: 128, Across: 2, Groups: 512},
				{MaxRows: 32, MaxOut: 6144, Workgroup: 128, Rows: 32, Columns: 32, Depth: 128, Across: 2, Groups: 396},
				{MaxRows: 32, Workgroup: 128, Rows: 32, Columns: 64, Depth: 128, Across: 4, Groups: 264},
				{MaxRows: 128, Workgroup: 128, Rows: 64, Columns: 64, Depth: 128, Across: 4, Groups: 264},
			},
			LinearGrad: Tile{Workgroup: 64, Rows: 8, Columns: 4},
			MatrixRows: 65, Matrix: MatrixTile{Rows: 128, Columns: 128, Depth: 64, SubgroupRows: 64, SubgroupColumns: 64, Shares: 2},
			MatrixTiles: 132, MatrixLow: MatrixTile{Rows: 64, Columns: 128, Depth: 64, SubgroupRows: 32, SubgroupColumns: 64, Shares: 1},
			GradRows: 16, GradLowRows: 256,
			MatrixGrad: MatrixTile{Rows: 128, Columns: 128, Depth: 32, SubgroupRows: 64, SubgroupColumns: 64, Shares: 1}, MatrixMany: 256,
			MatrixShared: MatrixTile{Rows: 64, Columns: 128, Depth: 64, SubgroupRows: 32, SubgroupColumns: 64, Shares: 1, Groups: 264},
			Matrix2Tiles: 256,
			Trials: Trials{
				Vector: []Vector{{MaxRows: 4, Workgroup: 64, Columns: 4, Depth: 1}},
				Few: []Few{
					{MaxRows: 16, Workgroup: 128, Rows: 16, Columns: 64, Depth: 128, Across: 4, Groups: 512},
					{MaxRows: 32, Workgroup: 256, Rows: 32, Columns: 64, Depth: 128, Across: 4, Groups: 264},
				},
			},
			ShrinkWorkgroup: 128, ShrinkRows: 4, ShrinkRanks: 4, ShrinkSplitK: true, ShrinkVector: ShrinkVector{Workgroup: 256, Ranks: 2, Depth: 2}, ShrinkGradQuads: 2,
			Tall:             Tall{From: 65, Workgroup: 64, Rows: 8, Quads: 2},
			LoRAGrad:         Outer{Workgroup: 128, Shares: 16, Ahead: 8, Quads: 2},
			AdapterMatrix:    OnMatrices{Subgroups: 8, Depth: 64, Across: 2, Shares: 4},
			CrossEntropy:     Sweep{Workgroup: 512, Ahead: 4},
			PrefillWorkgroup: 128, PrefillLanes: 4, PrefillMatrix: []AttentionTile{
				{Subgroups: 8, Units: 1, Columns: 32, Stages: 2, Hold: true},
				{Subgroups: 4, Units: 1, Columns: 32, Stages: 2, Hold: true},
			},
			GradQMatrix:  []AttentionTile{{Subgroups: 8, Units: 1, Columns: 32, Stages: 2}},
			GradKVMatrix: []AttentionTile{{Subgroups: 8, Units: 1, Columns: 32, Stages: 1}}, GradKVGroups: 512,
			GradWorkgroup: 128, GradLanes: 8, GradPer: 2,
			DecodeWorkgroup: 256, DecodePer: 1, DecodeDeep: 4, DecodeChunk: 64, DecodeGroups: 256,
			SampleWorkgroup: 256, SampleShare: 4096, SampleGroups: 256, MapWorkgroup: 64, DoraWorkgroup: 128,
		},
	}
}

// TuningNamed finds a row of the table.
func TuningNamed(name string) (Tuning, error) {
	known := []string{}
	for _, t := range Tunings() {
		if t.Name == name {
			return t, nil
		}
		known = append(known, t.Name)
	}
	return Tuning{}, fmt.Errorf("kernel family %q: known are %v", name, known)
}

// TileFor picks the tile shape for a number of rows.
func (t Tuning) TileFor(rows int) Tile {
	for _, tile := range t.Linear {
		if rows <= tile.MaxRows {
			return tile
		}
	}
	return t.Linear[len(t.Linear)-1]
}
