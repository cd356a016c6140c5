package engine

import (
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// prefillMatrix is the tile for the op over cooperative matrices, if they suit it:
// not the largest where its workgroups would leave a part of the device idle.
func (k *Kernels) prefillMatrix(a AttentionPrefill) (shaders.AttentionTile, bool) {
	tiles := k.Tuning.PrefillMatrix
	if len(tiles) > 1 && a.Count*a.Query*a.Longest < k.Tuning.DecodeGroups*k.queriesOf(tiles[0]) {
		tiles = tiles[1:]
	}
	return k.attentionTile(tiles, func(tile shaders.AttentionTile) int {
		rows := k.queriesOf(tile)
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

// queriesOf is how many queries, of one or of several heads, a workgroup takes.
func (k *Kernels) queriesOf(tile shaders.AttentionTile) int {
	return k.fragment() * int(tile.Subgroups*tile.Units)
}

// attentionPrefillMatrix records the op over cooperative matrices.
func (k *Kernels) attentionPrefillMatrix(rec *vk.Recorder, a AttentionPrefill, tile shaders.AttentionTile) error {
	together := headsTogether(tile.Subgroups*tile.Units, a.Heads)
	p, err := k.pipeline(k.names.prefillMatrix.of(k, tile), k.workgroup(tile), uint32(a.Size), bit(a.Stats.Size > 0), uint32(k.fragment()),
		tile.Subgroups, uint32(together), tile.Units, tile.Columns, tile.Stages, bit(tile.Hold))
	if err != nil {
		return err
	}
	a.dispatch(rec, p, a.Query/together, k.queriesOf(tile)/together)
	return nil
}
