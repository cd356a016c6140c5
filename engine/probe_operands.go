package engine

import (
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

const (
	mostMixed   = 64        // next tokens of which each has another adapter; of more rows all have the first
	probeRank   = 16        // of the adapters
	probeWeight = 512 << 20 // bytes of weights: several copies of most are read in turn, so that no cache holds them
)

// operands are the random numbers that products are measured with.
type operands struct {
	w, x, y, v, ab  vk.Buffer
	alike, mixed    vk.Buffer // slots of the rows: all zero, and counted through
	entries         vk.Buffer // the adapters in a module's row of the slot table
	parts           vk.Buffer // one for each place where weights may begin and module: see products
	scratch, counts vk.Buffer // as Linear has them
	products        [][]Product
	allocated       []vk.Buffer
}

// probeRoom is the memory that measuring may take.
func (k *Kernels) probeRoom() int { return int(k.device.Info.FreeMemory / 4) }

// probeBytes is the most that a class takes of it, about.
func (k *Kernels) probeBytes(c shaders.Class) int {
	return weightBytes(k, c) + 8*c.Rows*max(c.In, c.Out)
}

func weightBytes(k *Kernels, c shaders.Class) int { return c.In * c.Out * k.Weight.Size() }

// alloc takes buffers as large as the largest class needs.
func (p *probe) alloc() error {
	k, act := p.kernels, p.kernels.Act.Size()
	var w, x, v, ab, rows int
	for _, c := range p.classes {
		w, x = max(w, weightBytes(k, c)), max(x, c.Rows*max(c.In, c.Out))
		v, ab, rows = max(v, 4*c.Rows*2*probeRank), max(ab, act*probeRank*max(c.In, c.Out)), max(rows, c.Rows)
	}
	w = max(w, min(probeWeight, 8*w, k.probeRoom()/2))
	scratch, counts := k.SharedSizes()
	for _, b := range []struct {
		to   *vk.Buffer
		size int
	}{
		{&p.w, w}, {&p.x, act * x}, {&p.y, 4 * x}, {&p.v, v}, {&p.ab, mostMixed * ab},
		{&p.alike, 4 * rows}, {&p.mixed, 4 * mostMixed}, {&p.entries, slotBytes * mostMixed},
		{&p.scratch, scratch}, {&p.counts, counts},
	} {
		if err := p.take(b.to, b.size); err != nil {
			return err
		}
	}
	return nil
}

func (p *probe) take(to *vk.Buffer, size int) (err error) {
	if *to, err = p.kernels.device.Alloc(vk.Local, uint64(max(size, 16))); err == nil {
		p.allocated = append(p.allocated, *to)
	}
	return err
}

func (p *probe) free() {
	for _, b := range p.allocated {
		p.kernels.device.Free(b)
	}
}

// write fills the buffers and the tables of the products.
func (p *probe) write() error {
	var table []part
	for _, c := range p.classes {
		copies := int(p.w.Size) / weightBytes(p.kernels, c)
		p.products = append(p.products, make([]Product, copies))
		for n := range copies {
			p.products[len(p.products)-1][n] = p.product(c, n)
		}
	}
	if err := p.take(&p.parts, p.count()*partBytes); err != nil {
		return err
	}
	for _, copies := range p.products {
		for n := range copies {
			product := &copies[n]
			product.Table = p.parts.Span(uint64(len(table)*partBytes), uint64(len(product.Outs)*partBytes))
			for m, out := range product.Outs {
				table = append(table, part{w: product.Weights[m].Address, slots: p.entries.Address, n: uint32(out), offset: uint32(m * out)})
			}
		}
	}
	entries, mixed := make([]slotEntry, mostMixed), make([]int32, mostMixed)
	for i := range entries {
		at := p.ab.Address + uint64(i)*p.ab.Size/mostMixed
		entries[i], mixed[i] = slotEntry{a: at, b: at, rank: probeRank, scale: 1}, int32(i)
	}
	return firstError(p.put(p.parts, vk.Bytes(table)), p.put(p.entries, vk.Bytes(entries)), p.put(p.mixed, vk.Bytes(mixed)),
		p.put(p.alike, make([]byte, p.alike.Size)), p.put(p.counts, make([]byte, p.counts.Size)), p.draw())
}

// count is the number of parts of all products.
func (p *probe) count() int {
	n := 0
	for _, copies := range p.products {
		for _, product := range copies {
			n += len(product.Outs)
		}
	}
	return n
}

// product is a class's on the nth copy of its weights, still without its table.
func (p *probe) product(c shaders.Class, n int) Product {
	product := Product{In: c.In, Outs: []int{c.Out}}
	if c.Gated {
		product.Outs = []int{c.Out / 2, c.Out / 2}
	}
	size := uint64(weightBytes(p.kernels, c) / len(product.Outs))
	for m := range product.Outs {
		product.Weights = append(product.Weights, p.w.Span(uint64(n*weightBytes(p.kernels, c))+uint64(m)*size, size))
	}
	return product
}

func (p *probe) put(to vk.Buffer, data []byte) error {
	return p.kernels.device.Write(to, 0, uint64(len(data)), func(dst []byte, at uint64) error {
		copy(dst, data[at:])
		return nil
	})
}

// draw fills what products read with random numbers.
func (p *probe) draw() error {
	k := p.kernels
	rec := k.device.NewRecorder(false)
	random := func(to vk.Buffer, as weights.DType, deviation float32) error {
		count := int(to.Size) / as.Size() / 4 * 4
		return k.Random(rec, Random{X: to.All(), Type: as, Count: count, Random: weights.Random{Seed: 1, Deviation: deviation}})
	}
	return firstError(random(p.w, k.Weight, 0.02), random(p.x, k.Act, 1), random(p.v, weights.F32, 1), random(p.ab, k.Act, 0.02), rec.Run())
}

func (p *probe) copies(class int) int { return len(p.products[class]) }

// lora is the adapters' side of a class: next tokens may have any, sequences and what is
// trained have one.
func (p *probe) lora(c shaders.Class, parts int) LoRA {
	if !c.Adapters {
		return LoRA{}
	}
	slots, run := p.alike, c.Rows
	if c.Rows <= mostMixed && !c.Grad {
		slots, run = p.mixed, 1
	}
	return LoRA{V: p.v.Span(0, uint64(4*c.Rows*parts*probeRank)), Slots: slots.Span(0, uint64(4*c.Rows)), Stride: probeRank, Run: run}
}

// linear is a class's product, as a step would have it.
func (p *probe) linear(class, turn int) Linear {
	c, product := p.classes[class], p.products[class][turn]
	l := Linear{
		Product: product, LoRA: p.lora(c, len(product.Outs)), X: p.x.All(), Y: p.y.All(), Rows: c.Rows,
		Scratch: p.scratch.All(), Counts: p.counts.All(),
	}
	if c.Gated {
		l.Epilogue = SiLU
	}
	return l
}

func (p *probe) gradient(class, turn int) LinearGrad {
	c, product := p.classes[class], p.products[class][turn]
	return LinearGrad{
		Product: product, LoRA: p.lora(c, len(product.Outs)), DY: p.x.All(), DX: p.y.All(), Rows: c.Rows,
		Scratch: p.scratch.All(), Counts: p.counts.All(),
	}
}
