package engine

import "loquetier/shaders"

// gradKVMatrix is the tile for the gradient over cooperative matrices, if they
// suit it.
func (k *Kernels) gradKVMatrix(a AttentionGrad) (shaders.AttentionTile, bool) {
	if k.rowsOutgrowRegisters(a.Size) {
		return shaders.AttentionTile{}, false
	}
	return k.attentionTile(k.busyTiles(k.Tuning.GradKVMatrix, a.Count*a.Key*a.Longest), func(tile shaders.AttentionTile) int {
		columns := int(tile.Stages * tile.Columns)
		return max(int(tile.Subgroups)*k.square(), 2*columns*stagedRow(a.Size)) + 8*columns + k.gradScratch(tile)
	}, a.Size, a.Longest)
}
