package shaders_test

import (
	"math"
	"slices"

	"loquetier/engine"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

// sequence is a context whose last queries are rows of a step.
type sequence struct{ length, queries int }

// attention is a case with its numbers for the oracle and on the device.
type attention struct {
	engine.Attention
	oracle ref.Attention
	runs   []ref.Run // one for each sequence
	y      *output
}

// newAttention fills a cache for sequences, whose queries are the rows in
// order. Blocks lie in a random order, and what no sequence uses holds NaN.
func (b *bench) newAttention(heads engine.Heads, act weights.DType, window int, sequences []sequence) attention {
	a := attention{oracle: ref.Attention{Heads: heads.Query, KeyHeads: heads.Key, Size: heads.Size, Window: window}}
	rows, count := 0, 3
	for _, s := range sequences {
		rows += s.queries
		count += (s.length + ref.BlockSize - 1) / ref.BlockSize
	}
	o, blocks, row := &a.oracle, b.Perm(count), 0
	o.Q = b.normal(rows*heads.Query*heads.Size, 2, weights.F32)
	o.Keys = slices.Repeat([]float32{float32(math.NaN())}, count*heads.Key*ref.BlockSize*heads.Size)
	o.Values = slices.Clone(o.Keys)
	for _, s := range sequences {
		a.runs = append(a.runs, ref.Run{Row: row, Queries: s.queries, Position: s.length - s.queries, Table: len(o.Tables)})
		row += s.queries
		for at := 0; at < s.length; at += ref.BlockSize {
			b.fill(o, blocks[0], min(ref.BlockSize, s.length-at), act)
			o.Tables, blocks = append(o.Tables, int32(blocks[0])), blocks[1:]
		}
	}
	a.y = b.blank(len(o.Q) * act.Size())
	a.Attention = engine.Attention{
		Heads: heads, Window: window, Rows: rows, Q: b.stored(o.Q, weights.F32), Y: a.y.Range, Tables: b.integers(o.Tables),
		Cache: engine.Cache{Keys: b.stored(o.Keys, act), Values: b.stored(o.Values, act), Blocks: count},
	}
	return a
}

// fill writes the first cells of a block.
func (b *bench) fill(o *ref.Attention, block, cells int, act weights.DType) {
	for cell := range cells {
		for head := range o.KeyHeads {
			at := ref.InCache(block*ref.BlockSize+cell, o.KeyHeads, head, o.Size)
			copy(o.Keys[at:], b.normal(o.Size, 1, act))
			copy(o.Values[at:], b.normal(o.Size, 1, act))
		}
	}
}
