package shaders_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

// product is a linear product with adapters, for the oracle and on the device.
type product struct {
	engine.Product
	modules []ref.Module
	reads   []vk.Range // slot tables and adapters
	stride  int
	slots   int
	grads   []gradient // by module, then slot; with shape.train
}

// gradient is where the gradients of an adapter in a module gather, and what
// is there already.
type gradient struct {
	a, b           *output
	startA, startB []float32
}

// shape is what a product is made of.
type shape struct {
	in    int
	outs  []int
	bias  bool
	ranks []int // of the adapters, one a slot; 0: leaves every module alone
	dora  bool  // every second adapter has a gain
	train bool  // the adapters have gradients
	sick  bool  // the first adapter's B has what is not a number in its first row
}

// newProduct makes a product of random numbers. Adapter s leaves module m
// alone where (s + m) % 4 is 3.
func (b *bench) newProduct(s shape, weight, act weights.DType) product {
	p := product{Product: engine.Product{In: s.in, Outs: s.outs}, slots: len(s.ranks), stride: 4}
	for _, rank := range s.ranks {
		p.stride = max(p.stride, padded(rank))
	}
	var table []byte
	offset := 0
	for m, out := range s.outs {
		module := ref.Module{Out: out, W: b.normal(out*s.in, 1/math.Sqrt(float64(s.in)), weight)}
		var bias vk.Range
		if s.bias {
			module.Bias = b.normal(out, 1, weights.F32)
			bias = b.stored(module.Bias, weights.F32)
		}
		var slots []byte
		for slot, rank := range s.ranks {
			var a ref.Adapter
			if rank > 0 && (slot+m)%4 != 3 {
				a = b.adapter(s.in, out, rank, s.dora && slot%2 == 0, act)
			}
			if s.sick && slot == 0 {
				a.B[0] = float32(math.NaN())
			}
			module.Adapters = append(module.Adapters, a)
			var g gradient
			if s.train {
				g = b.newGradient(a)
				p.grads = append(p.grads, g)
			}
			slots = append(slots, p.row(b, a, g, act)...)
		}
		w, slotTable := b.stored(module.W, weight), b.holding(slots).Range
		p.modules, p.Weights, p.reads = append(p.modules, module), append(p.Weights, w), append(p.reads, slotTable)
		table = words(table, w.Address, bias.Address, slotTable.Address, uint64(out)|uint64(offset)<<32)
		offset += out
	}
	p.Table = b.holding(table).Range
	return p
}

// adapter is a random one; its rank is padded with zeros.
func (b *bench) adapter(in, out, rank int, gain bool, act weights.DType) ref.Adapter {
	a := ref.Adapter{Rank: padded(rank), Scale: 0.25 + b.Float32()}
	a.A = append(b.normal(rank*in, 1/math.Sqrt(float64(in)), act), make([]float32, (a.Rank-rank)*in)...)
	for range out {
		a.B = append(append(a.B, b.normal(rank, 1, act)...), make([]float32, a.Rank-rank)...)
	}
	if gain {
		a.Gain = b.normal(out, 1, weights.F32)
	}
	return a
}

// row uploads an adapter and returns its row of the slot table: Slot in smlm.glsl.
func (p *product) row(b *bench, a ref.Adapter, g gradient, act weights.DType) []byte {
	var at [5]uint64
	for i, part := range []struct {
		x  []float32
		dt weights.DType
	}{{a.A, act}, {a.B, act}, {a.Gain, weights.F32}} {
		if part.x != nil {
			r := b.stored(part.x, part.dt)
			at[i], p.reads = r.Address, append(p.reads, r)
		}
	}
	if g.a != nil {
		at[3], at[4] = g.a.Address, g.b.Address
	}
	return words(nil, at[0], at[1], at[2], at[3], at[4], uint64(a.Rank)|uint64(math.Float32bits(a.Scale))<<32)
}

// newGradient is a gradient that other rows have added to; none where the
// adapter leaves the module alone.
func (b *bench) newGradient(a ref.Adapter) gradient {
	if a.A == nil {
		return gradient{}
	}
	g := gradient{startA: b.normal(len(a.A), 1, weights.F32), startB: b.normal(len(a.B), 1, weights.F32)}
	g.a, g.b = b.holding(encode(g.startA, weights.F32)), b.holding(encode(g.startB, weights.F32))
	return g
}

func padded(rank int) int { return (rank + 3) / 4 * 4 }

func words(to []byte, values ...uint64) []byte {
	for _, v := range values {
		to = binary.LittleEndian.AppendUint64(to, v)
	}
	return to
}

// popularities are the shapes of requests over adapters; see slotsOf.
var popularities = []string{"distinct", "identical", "uniform", "zipf", "skewed", "mixed", "empty"}

// slotsOf gives each row an adapter. All but "distinct" are sorted, as steps
// are: "distinct" has another one in each row, "identical" one in all, "uniform"
// equal shares, "zipf" shares that fall with the rank, "skewed" one in all rows
// but the last ones, "mixed" rows of the base between the others, "empty" the
// base alone.
func (b *bench) slotsOf(popularity string, rows, slots int) []int32 {
	out := make([]int32, rows)
	for i := range out {
		switch popularity {
		case "distinct":
			out[i] = int32(i % slots)
		case "identical":
			out[i] = int32(slots - 1)
		case "uniform":
			out[i] = int32(i * slots / rows)
		case "zipf":
			out[i] = int32(math.Pow(float64(slots), b.Float64())) - 1
		case "skewed":
			out[i] = int32(max(0, i+slots-rows))
		case "mixed":
			out[i] = int32(b.IntN(2*slots)) / 2 * 2 % int32(slots)
			if b.IntN(3) == 0 {
				out[i] = ref.Base
			}
		case "empty":
			out[i] = ref.Base
		default:
			panic(fmt.Sprintf("BUG: popularity %q", popularity))
		}
	}
	if popularity == "zipf" {
		slices.Sort(out)
	}
	return out
}

// tilesOf cuts the runs of rows of one adapter into tiles of at most most rows.
// With short the list says how high they are where the runs are shorter: the
// next power of two, as steps choose it.
func (b *bench) tilesOf(slots []int32, most uint32, short bool) engine.Tiles {
	tallest := 1
	var list []int32
	for i := 0; i < len(slots); {
		n := 1
		for i+n < len(slots) && slots[i+n] == slots[i] && n < int(most) {
			n++
		}
		if slots[i] != ref.Base {
			list = append(list, int32(i), int32(n), slots[i])
			tallest = max(tallest, n)
		}
		i += n
	}
	if len(list) == 0 {
		return engine.Tiles{}
	}
	tiles := engine.Tiles{List: b.integers(list), Count: len(list) / 3}
	if short {
		tiles.Rows = min(int(most), 1<<bits.Len(uint(tallest-1)))
	}
	return tiles
}
