package engine

import (
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// prefillMatrix is the tile for the op over cooperative matrices, if they suit it.
func (k *Kernels) prefillMatrix(a AttentionPrefill) (shaders.AttentionTile, bool) {
	return k.attentionTile(k.busyTiles(k.Tuning.PrefillMatrix, a.Count*a.Query*a.Longest), func(tile shaders.AttentionTile) int {
		rows := k.rowsOf(tile)
		walk := 2 * int(tile.Stages*tile.Columns)
		bytes := (rows + walk) * stagedRow(a.Size)
		if tile.Hold {
			bytes = max(rows, walk) * stagedRow(a.Size)
		}
		if !k.staysInRegisters(tile) {
			bytes += rows*(4*int(tile.Columns)+16) + int(tile.Subgroups)*k.square()
		}
		return bytes
	}, a.Size, a.Longest)
}

// attentionPrefillMatrix records the op over cooperative matrices.
func (k *Kernels) attentionPrefillMatrix(rec *vk.Recorder, a AttentionPrefill, tile shaders.AttentionTile) error {
	together := headsTogether(tile.Subgroups*tile.Units, a.Heads)
	p, err := k.pipeline(k.matrixModule("attention_prefill_matrix", tile), k.workgroup(tile), uint32(a.Size), bit(a.Stats.Size > 0), uint32(k.fragment()),
		tile.Subgroups, uint32(together), tile.Units, tile.Columns, tile.Stages, bit(tile.Hold))
	if err != nil {
		return err
	}
	a.dispatch(rec, p, a.Query/together, k.rowsOf(tile)/together)
	return nil
}
