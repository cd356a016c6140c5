package lab

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// layer is a product of Llama 3.1 8B.
type layer struct {
	name     string
	in       int
	outs     []int
	epilogue engine.Epilogue
}

func layers() []layer {
	return []layer{
		{"qkv", 4096, []int{4096, 1024, 1024}, engine.Plain}, {"o", 4096, []int{4096}, engine.Add},
		{"gate up", 4096, []int{14336, 14336}, engine.SiLUKeep}, {"down", 14336, []int{4096}, engine.Add},
	}
}

// Tiles of the products and their gradients as the engine runs them, without
// and with an adapter of rank 8.
func TestTiles(t *testing.T) {
	d := open(t)
	tuning, err := shaders.TuningNamed("gpu")
	require.NoError(t, err)
	k, err := engine.NewKernels(d, tuning, weights.F16, weights.F16)
	require.NoError(t, err)
	tiles := []*shaders.MatrixTile{
		nil, {Rows: 128, Columns: 128, Depth: 64, SubgroupRows: 64, SubgroupColumns: 64, Shares: 2},
		{Rows: 128, Columns: 128, Depth: 32, SubgroupRows: 64, SubgroupColumns: 64, Shares: 1},
		{Rows: 128, Columns: 128, Depth: 64, SubgroupRows: 32, SubgroupColumns: 64, Shares: 1},
	}
	x, w := matrix(t, d, 4096*28672, 1), matrix(t, d, 28672*4096*2, 2)
	y, err := d.Alloc(vk.Local, 4*4096*28672)
	require.NoError(t, err)
	for _, p := range layers() {
		for _, tile := range tiles {
			line := fmt.Sprintf("%-8s", p.name)
			for _, rank := range []int{0, 8} {
				product, lora := p.onDevice(t, d, w.buf, x.buf, rank)
				for _, rows := range []int{512, 1024, 2048} {
					each := 2 * float64(rows) * float64(product.Width(engine.Plain)) * float64(p.in)
					l := engine.Linear{Product: product, LoRA: lora, X: x.buf.All(), Y: y.All(), Keep: w.buf.All(), Rows: rows, Epilogue: p.epilogue, Way: shaders.Way{Matrix: tile}}
					g := engine.LinearGrad{Product: product, LoRA: lora, DY: x.buf.All(), DX: y.All(), Rows: rows, Way: shaders.Way{Matrix: tile}}
					line += fmt.Sprintf(" | r%d %4d: %4.0f, back %4.0f", rank, rows,
						rate(t, d, each, func(rec *vk.Recorder) error { return k.Linear(rec, l) }),
						rate(t, d, each, func(rec *vk.Recorder) error { return k.LinearGrad(rec, g) }))
				}
			}
			fmt.Println(line, tile)
		}
	}
}

// rate is the arithmetic a second of an operation, in TFLOP/s: the median of
// enough calls to bring the device to speed.
func rate(t *testing.T, d *vk.Device, flops float64, record func(*vk.Recorder) error) float64 {
	rec := d.NewRecorder(true)
	for range 6 + int(4e12/flops) {
		require.NoError(t, record(rec))
	}
	require.NoError(t, rec.Run())
	timings, err := rec.Timings()
	require.NoError(t, err)
	slices.SortFunc(timings, func(a, b vk.Timing) int { return cmp.Compare(a.Time, b.Time) })
	return flops / timings[len(timings)/2].Time.Seconds() / 1e12
}

// onDevice is the product with weights out of one buffer and, with a rank, an
// adapter for all rows out of another.
func (p layer) onDevice(t *testing.T, d *vk.Device, w, a vk.Buffer, rank int) (engine.Product, engine.LoRA) {
	upload := func(words []uint64) vk.Range {
		buf, err := d.Alloc(vk.Local, uint64(8*len(words)))
		require.NoError(t, err)
		require.NoError(t, d.Write(buf, 0, buf.Size, func(dst []byte, at uint64) error {
			copy(dst, vk.Bytes(words)[at:])
			return nil
		}))
		return buf.All()
	}
	slot := upload([]uint64{a.Address, a.Address, 0, 0, 0, uint64(rank) | uint64(math.Float32bits(2))<<32})
	product := engine.Product{In: p.in, Outs: p.outs}
	var table []uint64
	at, offset := uint64(0), 0
	for _, n := range p.outs {
		r := w.Span(at, uint64(2*n*p.in))
		table = append(table, r.Address, 0, slot.Address, uint64(n)|uint64(offset)<<32)
		product.Weights, at, offset = append(product.Weights, r), at+r.Size, offset+n
	}
	product.Table = upload(table)
	if rank == 0 {
		return product, engine.LoRA{}
	}
	return product, engine.LoRA{V: a.All(), Slots: upload(make([]uint64, 4096)), Stride: rank, Run: 256, Reads: []vk.Range{slot}}
}
