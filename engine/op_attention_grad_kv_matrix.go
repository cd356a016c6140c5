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

// GradShares is into how many parts the query heads that share a key head are divided, so that
// few keys keep the device busy in AttentionGradKV.
func (k *Kernels) GradShares(a AttentionGrad) int {
	tile, ok := k.gradKVMatrix(a)
	if !ok {
		return 1
	}
	groups, heads := a.Count*a.Key*ceil(a.Longest, k.rowsOf(tile)), a.Query/a.Key
	shares := heads
	for heads%shares != 0 || shares > 1 && shares*groups > k.Tuning.GradKVGroups {
		shares--
	}
	return shares
}

// attentionGradBytes is the most that D takes for a number of rows, whatever their sequences.
func (k *Kernels) attentionGradBytes(h Heads, rows int) int {
	sums := rows * h.Key
	if tiles := k.Tuning.GradKVMatrix; len(tiles) > 0 {
		sums = max(sums, min(rows*h.Query, k.Tuning.GradKVGroups*k.rowsOf(tiles[0])))
	}
	return 4 * h.Size * (rows*h.Query + 2*sums)
}
