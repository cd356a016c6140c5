package engine

import "loquetier/shaders"

// attentionTile is the first tile of attention over cooperative matrices that is
// for the device, the storage type, the head and the longest run of queries. bytes
// is the shared memory that a tile takes.
func (k *Kernels) attentionTile(tiles []shaders.AttentionTile, bytes func(shaders.AttentionTile) int, head, longest int) (shaders.AttentionTile, bool) {
	const largest = 128 // head whose accumulators are registers
	t, info := k.fragment(), k.device.Info
	// Results leave through the shared memory of the rows, which below two
	// fragments of a head is smaller.
	if t == 0 || longest < t || head%16 != 0 || head < 2*t || head > largest || !info.SubgroupShuffle || info.SubgroupSize%t != 0 {
		return shaders.AttentionTile{}, false
	}
	for _, tile := range tiles {
		if int(tile.Subgroups)*info.SubgroupSize <= info.MaxWorkgroup && bytes(tile) <= info.SharedMemory {
			return tile, true
		}
	}
	return shaders.AttentionTile{}, false
}

// busyTiles are the tiles but those too large to keep the device busy with a
// number of rows; tiles are in the order of their size.
func (k *Kernels) busyTiles(tiles []shaders.AttentionTile, rows int) []shaders.AttentionTile {
	for len(tiles) > 1 && rows < k.Tuning.DecodeGroups*k.rowsOf(tiles[0]) {
		tiles = tiles[1:]
	}
	return tiles
}

// rowsOf is how many rows, of one or of several heads, a workgroup takes.
func (k *Kernels) rowsOf(tile shaders.AttentionTile) int {
	return k.fragment() * int(tile.Subgroups*tile.Units)
}

// stagedRow is the bytes of a 16-bit row of a head in shared memory.
func stagedRow(head int) int { return 2*head + 16 }

// square is the bytes of a fragment of float32.
func (k *Kernels) square() int { return 4 * k.fragment() * k.fragment() }

// fragment is the size of a subgroup's square matrices of the activation type;
// 0 where there are none.
func (k *Kernels) fragment() int {
	shape := k.matrixShape()
	if shape.M != shape.N || shape.M != shape.K {
		return 0
	}
	return shape.M
}

// matrixModule is a kernel's module for the device: scores stay in registers,
// or pass through shared memory.
func (k *Kernels) matrixModule(stem string, tile shaders.AttentionTile) string {
	if k.staysInRegisters(tile) {
		return k.byAct(stem) + "-registers"
	}
	return k.byAct(stem)
}

// staysInRegisters tells whether scores need no shared memory.
func (k *Kernels) staysInRegisters(tile shaders.AttentionTile) bool {
	return k.device.Info.CooperativeMatrix2 && !tile.Shared
}

// workgroup is a tile's size in invocations.
func (k *Kernels) workgroup(tile shaders.AttentionTile) uint32 {
	return tile.Subgroups * uint32(k.device.Info.SubgroupSize)
}

// headsTogether is how many query heads that share a key head a workgroup of a
// number of fragments takes.
func headsTogether(fragments uint32, h Heads) int {
	a, b := int(fragments), h.Query/h.Key
	for b > 0 {
		a, b = b, a%b
	}
	return a
}
