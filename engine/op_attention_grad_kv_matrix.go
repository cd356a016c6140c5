package engine

import "loquetier/shaders"

// gradKVMatrix is the tile for the gradient over cooperative matrices, if they
// suit it.
func (k *Kernels) gradKVMatrix(a AttentionGrad) (shaders.AttentionTile, bool) {
	return k.attentionTile(k.Tuning.GradKVMatrix, func(tile shaders.AttentionTile) int {
		rows := k.fragment() * int(tile.Subgroups)
		return k.stagedBytes(tile, 2*rows, a.Size) + 8*int(tile.Stages*tile.Columns) + k.gradScratch(tile)
	}, a.Size, a.Longest)
}
