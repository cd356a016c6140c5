package engine

import "loquetier/shaders"

// gradQMatrix is the tile for the gradient over cooperative matrices, if they
// suit it.
func (k *Kernels) gradQMatrix(a AttentionGrad) (shaders.AttentionTile, bool) {
	if k.rowsOutgrowRegisters(a.Size) {
		return shaders.AttentionTile{}, false
	}
	return k.attentionTile(k.busyTiles(k.Tuning.GradQMatrix, a.Count*a.Query*a.Longest), func(tile shaders.AttentionTile) int {
		rows := k.rowsOf(tile)
		return max(rows, 2*int(tile.Stages*tile.Columns))*stagedRow(a.Size) + 8*rows + k.gradScratch(tile)
	}, a.Size, a.Longest)
}

// rowsOutgrowRegisters tells whether two matrices of rows do not fit into
// registers beside the rest: those of large heads where operands lie in them twice,
// as in AMD's subgroups of 64.
func (k *Kernels) rowsOutgrowRegisters(head int) bool {
	return head > 80 && k.device.Info.SubgroupSize > 32
}

// gradScratch is the shared memory in which sums become operands.
func (k *Kernels) gradScratch(tile shaders.AttentionTile) int {
	if k.staysInRegisters(tile) {
		return 0
	}
	return int(tile.Subgroups) * k.square()
}

// gradTile is a pass over cooperative matrices by workgroups for a number of
// query or key heads, of which each takes some together.
func (k *Kernels) gradTile(pass attentionPass, stem string, tile shaders.AttentionTile, a AttentionGrad, heads, together int) attentionPass {
	pass.module = k.matrixModule(stem, tile)
	pass.constants = []uint32{
		k.workgroup(tile), uint32(a.Size), uint32(k.fragment()), tile.Subgroups, tile.Columns, tile.Stages, uint32(together),
	}
	pass.groups, pass.rows = heads/together, k.rowsOf(tile)/together
	return pass
}
