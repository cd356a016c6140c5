package engine

import "loquetier/engine/vk"

// backward records the step's slices of the pending backward pass: the gradients
// of all training rows' losses with respect to their adapters, layer by layer from the
// gradient of the residual stream that the loss, or the slice before, has left. Below
// the lowest layer that a job adapts there is nothing to do. The base is frozen, so of it
// only dX = dY . W is needed.
func (e *Engine) backward(rec *vk.Recorder, f *frame) error {
	if f.pass == nil {
		return nil
	}
	for i := f.pass.left - 1; i >= max(f.pass.left-f.slices, f.pass.lowest); i-- {
		if err := e.layerGrad(rec, f.pass, i); err != nil {
			return err
		}
		if err := e.breathe(rec); err != nil {
			return err
		}
	}
	return nil
}

// layerGrad turns the gradient of a layer's output into that of its input, and
// adds to the gradients of its adapters.
func (e *Engine) layerGrad(rec *vk.Recorder, t *training, i int) error {
	p := pass{layout: t.layout, acts: e.activationsOf(t, i), record: true}
	if !e.tape.recomputed(i) {
		p.x = e.tape.middle(i)
	} else if err := e.recompute(rec, &p, i); err != nil {
		return err
	}
	return firstError(e.mlpGrad(rec, p, i), e.attentionGrad(rec, p, i))
}

// recompute runs a layer forward again for the training rows, up to what the
// backward pass needs; it leaves the residual stream after attention in p.x.
func (e *Engine) recompute(rec *vk.Recorder, p *pass, i int) error {
	p.x = e.tape.residual
	x := e.stream(p.x, p.rows)
	rec.Copy(p.x, 0, e.tape.inputs[i], 0, x.Size)
	return firstError(e.attention(rec, *p, i), e.gated(rec, *p, i))
}

// mlpGrad adds to dx the gradient through norm, gate, up and down.
func (e *Engine) mlpGrad(rec *vk.Recorder, p pass, i int) error {
	c, t, a, layer := e.checkpointConfig, &e.tape, p.acts, &e.model.layers[i]
	act := e.precision.Act.Size()
	gateUp, ff := e.rows(a.gateUp, p.rows, 2*c.IntermediateSize, act), e.rows(e.arena.ff, p.rows, c.IntermediateSize, act)
	dff := e.rows(t.dff, p.rows, c.IntermediateSize, 4)
	return firstError(
		e.normAgain(rec, p, i, groupGateUp, layer.mlpNorm, p.x),
		e.inputGrad(rec, p, i, groupDown, e.dy(p.rows), dff),
		e.kernels.SiLUGrad(rec, SiLUGrad{GateUp: gateUp, DY: dff, D: gateUp, Y: ff, Rows: p.rows, Width: c.IntermediateSize}),
		e.loraGrad(rec, p, i, groupDown, e.dy(p.rows), ff), // which needs ff, and that was not kept
		e.productGrad(rec, p, i, groupGateUp, gateUp, e.rows(e.arena.h, p.rows, c.HiddenSize, act), e.rows(t.dh, p.rows, c.HiddenSize, 4)),
		e.normGrad(rec, p, layer.mlpNorm, p.x),
	)
}

// attentionGrad adds to dx the gradient through norm, q, k, v, attention and o.
func (e *Engine) attentionGrad(rec *vk.Recorder, p pass, i int) error {
	c, t, a, layer := e.checkpointConfig, &e.tape, p.acts, &e.model.layers[i]
	act, q, qkv := e.precision.Act.Size(), c.Heads*c.HeadDim, layer.products[groupQKV].Width(Plain)
	att, datt := e.rows(a.att, p.rows, q, act), e.rows(t.datt, p.rows, q, 4)
	dqkv := e.rows(t.dqkv, p.rows, qkv, act)
	g := AttentionGrad{
		Heads: e.heads(), Cache: e.caches[i], Q: e.rows(a.q, p.rows, q, 4), Y: att, DY: datt,
		Stats: e.rows(a.stats, p.rows, c.Heads, 4), Delta: e.rows(t.delta, p.rows, c.Heads, 4),
		Tiles: p.at(p.prefill.list), Tables: p.at(p.blockTables), Count: p.prefill.count,
		Longest: p.prefill.longest, Span: p.prefill.span, Window: layer.window, Rows: p.rows,
	}
	g.Shares = e.kernels.GradShares(g)
	g.D = e.rows(t.turned, p.rows, g.columns()*g.Size, 4)
	var dh vk.Range // nobody needs the gradient of the lowest layer's input
	if i > p.train.lowest {
		dh = e.rows(t.dh, p.rows, c.HiddenSize, 4)
	}
	if err := firstError(
		e.normAgain(rec, p, i, groupQKV, layer.attentionNorm, t.inputs[i]),
		e.productGrad(rec, p, i, groupO, e.dy(p.rows), att, datt),
		e.kernels.AttentionGradQ(rec, g),
		e.kernels.AttentionGradKV(rec, g),
		e.kernels.RopeGrad(rec, RopeGrad{
			Heads: g.Heads, QKV: e.columns(p), D: g.D, DQKV: dqkv, Turns: e.model.turns.All(),
			Positions: p.at(p.positions), QNorm: layer.qNorm.All(), KNorm: layer.kNorm.All(),
			Eps: float32(c.NormEps), Rows: p.rows, Context: e.config.Context, Shares: g.Shares,
		}),
		e.productGrad(rec, p, i, groupQKV, dqkv, e.rows(e.arena.h, p.rows, c.HiddenSize, act), dh),
	); err != nil || dh.Size == 0 {
		return err
	}
	return e.normGrad(rec, p, layer.attentionNorm, t.inputs[i])
}

// normAgain puts a product's input, the normed residual stream, into the arena's h
// for the gradients of its adapters. It is not kept from the forward pass.
func (e *Engine) normAgain(rec *vk.Recorder, p pass, layer int, group group, g, x vk.Buffer) error {
	if !p.train.adapts[layer][group] {
		return nil
	}
	return e.kernels.Norm(rec, e.normOf(x, g, p.rows))
}

// productGrad takes a product's gradient dy back: to its adapters, and to its
// input in dx, where that is wanted. x was its input.
func (e *Engine) productGrad(rec *vk.Recorder, p pass, layer int, g group, dy, x, dx vk.Range) error {
	return firstError(e.inputGrad(rec, p, layer, g, dy, dx), e.loraGrad(rec, p, layer, g, dy, x))
}

// inputGrad shrinks dy into u for the product's adapters, and takes it back to
// the product's input in dx, where that is wanted.
func (e *Engine) inputGrad(rec *vk.Recorder, p pass, layer int, g group, dy, dx vk.Range) error {
	product := e.model.layers[layer].products[g]
	var lora LoRA
	if p.train.adapts[layer][g] {
		lora = e.loraOf(p.layout, product, e.tape.u)
		if err := e.kernels.ShrinkGrad(rec, ShrinkGrad{
			Product: product, Tiles: p.shrinkTiles(), DY: dy, U: lora.V, Reads: lora.Reads,
			Rows: p.rows, Stride: p.maxRank, MaxRank: p.maxRank,
		}); err != nil {
			return err
		}
	}
	if dx.Size == 0 {
		return nil
	}
	return e.kernels.LinearGrad(rec, LinearGrad{
		Product: product, LoRA: lora, DY: dy, DX: dx, Rows: p.rows, Scratch: e.arena.sums.All(), Counts: e.arena.sumCounts.All(),
	})
}

// loraGrad adds to the gradients of A and B of the product's adapters, from
// what inputGrad left in u.
func (e *Engine) loraGrad(rec *vk.Recorder, p pass, layer int, g group, dy, x vk.Range) error {
	if !p.train.adapts[layer][g] {
		return nil
	}
	product := e.model.layers[layer].products[g]
	u, v := e.loraOf(p.layout, product, e.tape.u), e.loraOf(p.layout, product, p.acts.v[g])
	return e.kernels.LoRAGrad(rec, LoRAGrad{
		Product: product, Segments: p.at(p.train.segments), Count: len(p.train.slots), X: x, DY: dy,
		U: u.V, V: v.V, Reads: u.Reads, Writes: p.train.gradients, Rows: p.rows, Stride: p.maxRank, MaxRank: p.maxRank,
	})
}

// dy is the gradient of the residual stream as products take it.
func (e *Engine) dy(rows int) vk.Range {
	if c := e.dxCopy(rows); c.Size > 0 {
		return c
	}
	return e.rows(e.tape.dx, rows, e.checkpointConfig.HiddenSize, 4)
}

// dxCopy is the copy of dx in the activation type; null where that is float32.
func (e *Engine) dxCopy(rows int) vk.Range {
	if e.tape.dxCopy.Size == 0 {
		return vk.Range{}
	}
	return e.rows(e.tape.dxCopy, rows, e.checkpointConfig.HiddenSize, e.precision.Act.Size())
}

// normGrad adds to dx what comes back through a norm of x: dh.
func (e *Engine) normGrad(rec *vk.Recorder, p pass, g, x vk.Buffer) error {
	c, t := e.checkpointConfig, &e.tape
	return e.kernels.NormGrad(rec, NormGrad{
		X: e.rows(x, p.rows, c.HiddenSize, 4), G: g.All(), DY: e.rows(t.dh, p.rows, c.HiddenSize, 4),
		DX: e.rows(t.dx, p.rows, c.HiddenSize, 4), Copy: e.dxCopy(p.rows), Eps: float32(c.NormEps), Rows: p.rows, Width: c.HiddenSize,
	})
}
