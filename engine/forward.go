package engine

import "loquetier/engine/vk"

// forward records the base model over all rows of a step at once: at most ten
// dispatches a layer, eight where no row has an adapter.
func (e *Engine) forward(rec *vk.Recorder, l *layout) error {
	c, a := e.checkpointConfig, &e.arena
	err := e.kernels.Embed(rec, Embed{
		W: e.model.embedding.All(), Tokens: e.at(l.tokens), X: e.rows(a.x, l.rows, c.HiddenSize, 4),
		Rows: l.rows, Width: c.HiddenSize, Vocab: c.VocabSize,
	})
	for i := 0; err == nil && i < c.Layers; i++ {
		err = firstError(e.attention(rec, l, i), e.mlp(rec, l, i))
	}
	return err
}

// rows is the part of an activation buffer that a step uses.
func (e *Engine) rows(buf vk.Buffer, rows, width, size int) vk.Range {
	return buf.Span(0, uint64(rows*width*size))
}

// attention is x += o(attention(rope(qkv(norm(x))))).
func (e *Engine) attention(rec *vk.Recorder, l *layout, i int) error {
	c, a, layer := e.checkpointConfig, &e.arena, &e.model.layers[i]
	act, q := e.precision.Act.Size(), c.Heads*c.HeadDim
	qkv := layer.products[groupQKV]
	x, att := e.rows(a.x, l.rows, c.HiddenSize, 4), e.rows(a.att, l.rows, q, act)
	heads := Heads{Query: c.Heads, Key: c.KVHeads, Size: c.HeadDim}
	columns, turned := e.rows(a.qkv, l.rows, qkv.Width(Plain), 4), e.rows(a.q, l.rows, q, 4)
	return firstError(
		e.norm(rec, l, layer.attentionNorm, qkv),
		e.linear(rec, l, qkv, e.rows(a.h, l.rows, c.HiddenSize, act), columns, Plain),
		e.kernels.Rope(rec, Rope{
			Heads: heads, Cache: e.caches[i], QKV: columns, Q: turned, Turns: e.model.turns.All(),
			Positions: e.at(l.positions), Cells: e.at(l.cells), QNorm: layer.qNorm.All(), KNorm: layer.kNorm.All(),
			Eps: float32(c.NormEps), Rows: l.rows, Context: e.config.Context,
		}),
		e.attend(rec, l, Attention{
			Heads: heads, Cache: e.caches[i], Q: turned, Y: att, Tables: e.at(l.blockTables), Window: layer.window, Rows: l.rows,
		}),
		e.shrink(rec, l, layer.products[groupO], att),
		e.linear(rec, l, layer.products[groupO], att, x, Add),
	)
}

// mlp is x += down(silu(gate(h)) * up(h)) with h = norm(x).
func (e *Engine) mlp(rec *vk.Recorder, l *layout, i int) error {
	c, a, layer := e.checkpointConfig, &e.arena, &e.model.layers[i]
	act := e.precision.Act.Size()
	ff := e.rows(a.ff, l.rows, c.IntermediateSize, act)
	return firstError(
		e.norm(rec, l, layer.mlpNorm, layer.products[groupGateUp]),
		e.linear(rec, l, layer.products[groupGateUp], e.rows(a.h, l.rows, c.HiddenSize, act), ff, SiLU),
		e.shrink(rec, l, layer.products[groupDown], ff),
		e.linear(rec, l, layer.products[groupDown], ff, e.rows(a.x, l.rows, c.HiddenSize, 4), Add),
	)
}

// attend runs the kernels for single queries and for runs; they touch
// different rows, so neither waits for the other.
func (e *Engine) attend(rec *vk.Recorder, l *layout, a Attention) error {
	if l.prefill.count > 0 {
		if err := e.kernels.AttentionPrefill(rec, AttentionPrefill{
			Attention: a, Tiles: e.at(l.prefill.list), Count: l.prefill.count, Longest: l.prefill.longest, Span: l.prefill.span,
		}); err != nil {
			return err
		}
	}
	if l.decode.count == 0 {
		return nil
	}
	splits := e.kernels.DecodeSplits(l.decode.count, a.Key, l.decode.longest)
	if err := e.grow(&e.arena.scratch, vk.Local, DecodeScratch(a.Heads, l.decode.count, splits)); err != nil {
		return err
	}
	return e.kernels.AttentionDecode(rec, AttentionDecode{
		Attention: a, Tiles: e.at(l.decode.list), Count: l.decode.count, Longest: l.decode.longest, Splits: splits,
		Scratch: e.arena.scratch.All(), Counts: e.arena.counts.All(),
	})
}

// norm norms the residual stream into h, and shrinks h for the product's
// adapters in the same dispatch.
func (e *Engine) norm(rec *vk.Recorder, l *layout, g vk.Buffer, p Product) error {
	c := e.checkpointConfig
	n := Norm{
		X: e.rows(e.arena.x, l.rows, c.HiddenSize, 4), G: g.All(), Y: e.rows(e.arena.h, l.rows, c.HiddenSize, e.precision.Act.Size()),
		Eps: float32(c.NormEps), Rows: l.rows, Width: c.HiddenSize,
	}
	if l.adapters {
		s := e.shrinkOf(l, p)
		n.Shrink = &s
	}
	return e.kernels.Norm(rec, n)
}

func (e *Engine) shrink(rec *vk.Recorder, l *layout, p Product, x vk.Range) error {
	if !l.adapters {
		return nil
	}
	s := e.shrinkOf(l, p)
	s.X = x
	return e.kernels.Shrink(rec, s)
}

func (e *Engine) shrinkOf(l *layout, p Product) Shrink {
	return Shrink{
		Product: p, Tiles: Tiles{List: e.at(l.tiles), Count: l.tileCount, Rows: l.tileRows},
		V: e.rows(e.arena.v, l.rows, len(p.Outs)*l.maxRank, 4), Reads: []vk.Range{e.slots.buffer.All()},
		Rows: l.rows, Stride: l.maxRank, MaxRank: l.maxRank,
	}
}

func (e *Engine) linear(rec *vk.Recorder, l *layout, p Product, x, y vk.Range, epilogue Epilogue) error {
	call := Linear{Product: p, X: x, Y: y, Rows: l.rows, Epilogue: epilogue}
	if l.adapters {
		call.LoRA = LoRA{
			V: e.rows(e.arena.v, l.rows, len(p.Outs)*l.maxRank, 4), Slots: e.at(l.slots), Stride: l.maxRank, Gains: l.gains, Run: l.run,
			Reads: []vk.Range{e.slots.buffer.All()},
		}
	}
	return e.kernels.Linear(rec, call)
}
