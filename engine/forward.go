package engine

import "loquetier/engine/vk"

// pass is one walk through layers: over which rows, and where results go.
type pass struct {
	*layout
	x      vk.Buffer    // the residual stream, [rows, hidden] float32
	acts   *activations // of the layer
	record bool         // leave what only the backward pass needs
	keep   [2]vk.Range  // where the residual stream before attention and behind it is kept, of training rows; or null
}

// forward records the base model over all rows of a step at once: at most ten
// dispatches a layer, eight where no row has an adapter.
func (e *Engine) forward(rec *vk.Recorder, l *layout) error {
	c, a := e.checkpointConfig, &e.arena
	err := e.kernels.Embed(rec, Embed{
		W: e.model.embedding.All(), Tokens: l.at(l.tokens), Picks: e.frames.before(e.frame).ids.All(), X: e.rows(a.x, l.rows, c.HiddenSize, 4),
		Rows: l.rows, Width: c.HiddenSize, Vocab: c.VocabSize,
	})
	for i := 0; err == nil && i < c.Layers; i++ {
		if err = e.layer(rec, l, i); err == nil {
			err = e.breathe(rec)
		}
	}
	return err
}

// layer records one layer. Of training rows it leaves the layer's input, and
// all of its activations where they are not to be recomputed.
func (e *Engine) layer(rec *vk.Recorder, l *layout, i int) error {
	p := pass{layout: l, x: e.arena.x, acts: e.activationsOf(l.train, i), record: l.train != nil && !e.tape.recomputed(i)}
	if l.train != nil {
		p.keep[0] = e.stream(e.tape.inputs[i], l.train.layout.rows)
	}
	if p.record {
		p.keep[1] = e.stream(e.tape.middle(i), l.train.layout.rows)
	}
	if l.wanted != nil && i == e.checkpointConfig.Layers-1 {
		return e.lastLayer(rec, p, i)
	}
	return firstError(e.attention(rec, p, i), e.gated(rec, p, i), e.down(rec, p, i))
}

// stream is the first rows of a residual stream.
func (e *Engine) stream(x vk.Buffer, rows int) vk.Range {
	return e.rows(x, rows, e.checkpointConfig.HiddenSize, 4)
}

// rows is the part of an activation buffer that a step uses.
func (e *Engine) rows(buf vk.Buffer, rows, width, size int) vk.Range {
	return buf.Span(0, uint64(rows*width*size))
}

// attention is x += o(attention(rope(qkv(norm(x))))).
func (e *Engine) attention(rec *vk.Recorder, p pass, i int) error {
	c := e.checkpointConfig
	att := e.rows(p.acts.att, p.rows, c.Heads*c.HeadDim, e.precision.Act.Size())
	return firstError(e.attended(rec, p, i), e.projected(rec, p, i, att))
}

// attended is attention(rope(qkv(norm(x)))).
func (e *Engine) attended(rec *vk.Recorder, p pass, i int) error {
	c, a, layer := e.checkpointConfig, p.acts, &e.model.layers[i]
	act, q := e.precision.Act.Size(), c.Heads*c.HeadDim
	att := e.rows(a.att, p.rows, q, act)
	columns, turned := e.columns(p), e.rows(a.q, p.rows, q, 4)
	attend := Attention{
		Heads: e.heads(), Cache: e.caches[i], Q: turned, Y: att, Tables: p.at(p.blockTables), Window: layer.window, Rows: p.rows,
	}
	rope := Rope{
		Heads: e.heads(), Cache: e.caches[i], QKV: columns, Q: turned, Turns: e.model.turns.All(),
		Positions: p.at(p.positions), Cells: p.at(p.cells), QNorm: layer.qNorm.All(), KNorm: layer.kNorm.All(),
		Eps: float32(c.NormEps), Rows: p.rows, Context: e.config.Context,
	}
	return firstError(
		e.normed(rec, p, layer.attentionNorm, Linear{Product: layer.products[groupQKV], Y: columns}, a.v[groupQKV], p.keep[0]),
		e.attend(rec, p, attend, rope),
	)
}

// projected is x += o(att).
func (e *Engine) projected(rec *vk.Recorder, p pass, i int, att vk.Range) error {
	o, v := e.model.layers[i].products[groupO], p.acts.v[groupO]
	return firstError(
		e.shrink(rec, p, o, att, v),
		e.linear(rec, p, Linear{Product: o, X: att, Y: e.stream(p.x, p.rows), Epilogue: Add}, v),
	)
}

// columns is where a layer's q, k and v go, as the product gives them.
func (e *Engine) columns(p pass) vk.Range {
	c, buf := e.checkpointConfig, p.acts.qkv
	if !c.QKNorm {
		buf = e.arena.qkv
	}
	return e.rows(buf, p.rows, (c.Heads+2*c.KVHeads)*c.HeadDim, 4)
}

// heads is the shape of attention.
func (e *Engine) heads() Heads {
	c := e.checkpointConfig
	return Heads{Query: c.Heads, Key: c.KVHeads, Size: c.HeadDim}
}

// gated is ff = silu(gate(h)) * up(h) with h = norm(x), and what down's
// adapters shrink of it.
func (e *Engine) gated(rec *vk.Recorder, p pass, i int) error {
	c, a, layer := e.checkpointConfig, p.acts, &e.model.layers[i]
	act, gateUp := e.precision.Act.Size(), layer.products[groupGateUp]
	ff := e.rows(e.arena.ff, p.rows, c.IntermediateSize, act)
	product := Linear{Product: gateUp, Y: ff, Epilogue: SiLU}
	if p.record {
		product.Epilogue, product.Keep = SiLUKeep, e.rows(a.gateUp, p.rows, 2*c.IntermediateSize, act)
	}
	return firstError(
		e.normed(rec, p, layer.mlpNorm, product, a.v[groupGateUp], p.keep[1]),
		e.shrink(rec, p, layer.products[groupDown], ff, a.v[groupDown]),
	)
}

// down is x += down(ff).
func (e *Engine) down(rec *vk.Recorder, p pass, i int) error {
	c := e.checkpointConfig
	return e.linear(rec, p, Linear{
		Product: e.model.layers[i].products[groupDown], X: e.rows(e.arena.ff, p.rows, c.IntermediateSize, e.precision.Act.Size()),
		Y: e.rows(p.x, p.rows, c.HiddenSize, 4), Epilogue: Add,
	}, p.acts.v[groupDown])
}

// attend rotates, appends to the cache, and runs the kernels for single queries
// and for runs; they touch different rows, so neither waits for the other. Where all
// are single queries their kernel rotates and appends by itself if it can.
func (e *Engine) attend(rec *vk.Recorder, p pass, a Attention, rope Rope) error {
	fused := p.prefill.count == 0 && e.kernels.FusesRope(a.Heads)
	if !fused {
		if err := e.kernels.Rope(rec, rope); err != nil {
			return err
		}
	}
	if p.prefill.count > 0 {
		runs := AttentionPrefill{
			Attention: a, Tiles: p.at(p.prefill.list), Count: p.prefill.count, Longest: p.prefill.longest, Span: p.prefill.span,
		}
		if p.record {
			runs.Stats = e.rows(p.acts.stats, p.rows, a.Query, 4)
		}
		if err := e.kernels.AttentionPrefill(rec, runs); err != nil {
			return err
		}
	}
	if p.decode.count == 0 {
		return nil
	}
	if err := e.makeRoom(&e.arena.scratch, vk.Local, DecodeScratch(a.Heads, p.decode.count, p.splits)); err != nil {
		return err
	}
	single := AttentionDecode{
		Attention: a, Tiles: p.at(p.decode.list), Count: p.decode.count, Longest: p.longest, Splits: p.splits,
		Scratch: e.arena.scratch.All(), Counts: e.arena.counts.All(),
	}
	if fused {
		single.Rope = &rope
	}
	return e.kernels.AttentionDecode(rec, single)
}

// normed is a product of the normed residual stream, from which its adapters
// shrink as well. Where there are none and the product norms its input by itself it
// is one dispatch, otherwise two, with a copy of the stream's
// first rows in keep.
func (e *Engine) normed(rec *vk.Recorder, p pass, g vk.Buffer, l Linear, v vk.Buffer, keep vk.Range) error {
	c := e.checkpointConfig
	if !p.adapters && keep.Size == 0 && e.kernels.FusesNorm(l.Product, p.rows) {
		l.X, l.Norm, l.Eps = e.stream(p.x, p.rows), g.All(), float32(c.NormEps)
		return e.linear(rec, p, l, v)
	}
	l.X = e.rows(e.arena.h, p.rows, c.HiddenSize, e.precision.Act.Size())
	return firstError(e.norm(rec, p, g, l.Product, v, keep), e.linear(rec, p, l, v))
}

// norm norms the residual stream into the arena's h, and shrinks that for the product's
// adapters into v: in the same dispatch, unless there are many rows. keep gets a
// copy of the stream's first rows.
func (e *Engine) norm(rec *vk.Recorder, p pass, g vk.Buffer, product Product, v vk.Buffer, keep vk.Range) error {
	n := e.normOf(p.x, g, p.rows)
	n.Copy = keep
	if p.adapters && !p.tall {
		s := e.shrinkOf(p, product, v)
		n.Shrink = &s
	}
	if err := e.kernels.Norm(rec, n); err != nil || !p.tall {
		return err
	}
	return e.shrink(rec, p, product, n.Y, v)
}

// normOf norms rows of a residual stream into the arena's h.
func (e *Engine) normOf(x, g vk.Buffer, rows int) Norm {
	c := e.checkpointConfig
	return Norm{
		X: e.stream(x, rows), G: g.All(), Y: e.rows(e.arena.h, rows, c.HiddenSize, e.precision.Act.Size()),
		Eps: float32(c.NormEps), Rows: rows, Width: c.HiddenSize,
	}
}

func (e *Engine) shrink(rec *vk.Recorder, p pass, product Product, x vk.Range, v vk.Buffer) error {
	if !p.adapters {
		return nil
	}
	s := e.shrinkOf(p, product, v)
	s.X = x
	return e.kernels.Shrink(rec, s)
}

func (e *Engine) shrinkOf(p pass, product Product, v vk.Buffer) Shrink {
	return Shrink{
		Product: product, Tiles: p.shrinkTiles(), V: e.rows(v, p.rows, len(product.Outs)*p.maxRank, 4), Reads: []vk.Range{e.slots.buffer.All()},
		Rows: p.rows, Stride: p.maxRank, MaxRank: p.maxRank,
	}
}

// linear records a product with the adapters' share, which is in v. Of a step that
// trains on a GPU the two parts are computed each in the way that suits it: training rows are many,
// on a slot or two, and those beside them few, on any. Together they would take the ways of neither.
func (e *Engine) linear(rec *vk.Recorder, p pass, l Linear, v vk.Buffer) error {
	l.Rows, l.LoRA, l.Scratch, l.Counts = p.rows, e.loraOf(p.layout, l.Product, v), e.arena.sums.All(), e.arena.sumCounts.All()
	n := p.trainRows()
	if n == p.rows || n < e.kernels.Tuning.MatrixRows || n == 0 || e.kernels.Tuning.MatrixRows == 0 {
		return e.kernels.Linear(rec, l)
	}
	trained, beside := e.kernels.linearRows(l, 0, n), e.kernels.linearRows(l, n, p.rows-n)
	trained.Run, beside.Run, beside.Slots = p.train.layout.run, p.besideRun, p.at(p.beside)
	if beside.Epilogue == SiLUKeep {
		beside.Epilogue, beside.Keep = SiLU, vk.Range{}
	}
	return firstError(e.kernels.Linear(rec, trained), e.kernels.Linear(rec, beside))
}

// loraOf is the adapters' side of a product; none where no row has one.
func (e *Engine) loraOf(l *layout, p Product, v vk.Buffer) LoRA {
	if !l.adapters {
		return LoRA{}
	}
	return LoRA{
		V: e.rows(v, l.rows, len(p.Outs)*l.maxRank, 4), Slots: l.at(l.slots), Stride: l.maxRank, Gains: l.gains, Run: l.run,
		Reads: []vk.Range{e.slots.buffer.All()},
	}
}
