package shaders_test

import (
	"fmt"
	"slices"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// segmentsOf lists (first row, rows, slot) of slots that are sorted.
func segmentsOf(slots []int32) []int32 {
	var list []int32
	for i, slot := range slots {
		switch n := len(list); {
		case slot == ref.Base:
		case n > 0 && list[n-1] == slot:
			list[n-2]++
		default:
			list = append(list, int32(i), 1, slot)
		}
	}
	return list
}

// outers are the tunings' shapes of lora_grad and some that they do not use.
func outers() []shaders.Outer {
	all := []shaders.Outer{
		{Workgroup: 64, Shares: 1, Ahead: 2, Quads: 2}, {Workgroup: 32, Shares: 4, Ahead: 1, Quads: 1}, {Workgroup: 64, Shares: 16, Ahead: 8, Quads: 4},
	}
	for _, t := range shaders.Tunings() {
		all = append([]shaders.Outer{t.LoRAGrad}, all...)
	}
	return all
}

func TestLoRAGrad(t *testing.T) {
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b := newBench(t, 23)
			for i, c := range gradCases() {
				if c.popularity == "" || c.popularity == "empty" {
					continue
				}
				g := b.newLoRAGrad(c, act, weights.F32)
				for j, shape := range outers() {
					if j < 2 || act == weights.F32 || (i+j)%3 == 0 && !brief() {
						tuned := tuning(t, "software")
						tuned.LoRAGrad = shape
						g.check(b, tuned, c)
					}
				}
			}
		})
	}
}

// loraGrad is a case with its numbers.
type loraGrad struct {
	engine.LoRAGrad
	product
	act         weights.DType
	x, dy, u, v []float32
	rows        []int32 // their slots, each slot's together
}

// newLoRAGrad makes a case; U and V are float32, but rounded to a type.
func (b *bench) newLoRAGrad(c linearCase, act, thin weights.DType) loraGrad {
	g := loraGrad{product: b.newProduct(c.shape, act, act), act: act, rows: b.slotsOf(c.popularity, c.rows, len(c.ranks))}
	slices.Sort(g.rows)
	width, n := g.product.Width(engine.Plain), c.rows*len(c.outs)*g.stride
	g.x, g.dy = b.normal(c.rows*c.in, 1, act), b.normal(c.rows*width, 1, act)
	g.u, g.v = b.normal(n, 1, thin), b.normal(n, 1, thin)
	segments := segmentsOf(g.rows)
	g.LoRAGrad = engine.LoRAGrad{
		Product: g.product.Product, Segments: b.integers(segments), Count: len(segments) / 3,
		X: b.stored(g.x, act), DY: b.stored(widened(g.dy, width), act), U: b.stored(g.u, weights.F32), V: b.stored(g.v, weights.F32),
		Reads: g.reads, Rows: c.rows, Stride: g.stride, MaxRank: g.stride,
	}
	for _, at := range g.grads {
		if at.a != nil {
			g.Writes = append(g.Writes, at.a.Range, at.b.Range)
		}
	}
	return g
}

func (g loraGrad) check(b *bench, tuning shaders.Tuning, what any) {
	b.Helper()
	k, shape := kernels(b.T, tuning, g.act, g.act), fmt.Sprintf("%+v, %+v", tuning.LoRAGrad, tuning.AdapterMatrix)
	var outputs []*output
	for _, at := range g.grads {
		if at.a != nil {
			outputs = append(outputs, at.a, at.b)
		}
	}
	b.dispatch(func(rec *vk.Recorder) error { return k.LoRAGrad(rec, g.LoRAGrad) }, outputs...)
	for slot := range g.slots {
		da, db := ref.LoRAGrad(g.modules, int32(slot), g.LoRAGrad.In, g.x, g.dy, g.rows, g.u, g.v, g.stride)
		for m := range g.modules {
			at := g.grads[m*g.slots+slot]
			if at.a == nil {
				continue
			}
			requireClose(b, added(at.startA, da[m]), at.a.numbers(b, weights.F32), weights.F32, what, shape, "dA")
			requireClose(b, added(at.startB, db[m]), at.b.numbers(b, weights.F32), weights.F32, what, shape, "dB")
		}
	}
}

func added(x []float32, y []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = float64(x[i]) + y[i]
	}
	return out
}
