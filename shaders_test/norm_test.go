package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders/ref"
)

const eps = 1e-5

func TestNorm(t *testing.T) {
	for _, act := range types {
		b := newBench(t, 5)
		for i, width := range []int{4, 12, 60, 192} {
			rows := []int{1, 133, 3, 7}[i]
			x, g := b.normal(rows*width, 3, weights.F32), b.normal(width, 1, weights.F32)
			var list []int32
			for row := 0; row < rows; row += 2 {
				list = append(list, int32(rows-1-row))
			}
			n := engine.Norm{X: b.stored(x, weights.F32), G: b.stored(g, weights.F32), Eps: eps, Width: width}
			for _, tuning := range shrinkTunings(t, act)[i%2 : 4] {
				k := kernels(t, tuning, act, act)
				for _, list := range [][]int32{nil, list} {
					want := ref.Norm(x, g, eps, list)
					y, copied := b.blank(len(want)*act.Size()), b.blank(4*width*((len(want)/width+1)/2))
					n.Y, n.Rows, n.List, n.Copy = y.Range, len(want)/width, vk.Range{}, copied.Range
					if list != nil {
						n.List, n.Copy = b.integers(list), vk.Range{}
					}
					b.dispatch(func(rec *vk.Recorder) error { return k.Norm(rec, n) }, y, copied)
					if list == nil {
						requireExact(t, decode(encode(x, weights.F32)[:copied.Size], weights.F32), copied.numbers(b, weights.F32))
					}
					requireClose(t, want, y.numbers(b, act), act, fmt.Sprintf("%v, width %d, %d rows", act, width, n.Rows))
				}
			}
		}
	}
}

func TestNormWithShrink(t *testing.T) {
	for _, act := range types {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b, tunings := newBench(t, 6), shrinkTunings(t, act)
			for i, c := range shrinkCases() {
				p := b.newProduct(c.shape, act, act)
				x, g := b.normal(c.rows*c.in, 3, weights.F32), b.normal(c.in, 1, weights.F32)
				slots := b.slotsOf(c.popularity, c.rows, p.slots)
				n := engine.Norm{X: b.stored(x, weights.F32), G: b.stored(g, weights.F32), Eps: eps, Width: c.in, Rows: c.rows}
				var list []int32
				if i%2 == 1 { // rows of Y in another order than rows of X
					for row := range c.rows {
						list = append(list, int32(c.rows-1-row))
					}
					n.List = b.integers(list)
				}
				want := ref.Norm(x, g, eps, list)
				// The kernel shrinks the normed rows before they are rounded.
				exact := make([]float32, len(want))
				for i, v := range want {
					exact[i] = float32(v)
				}
				wantV := ref.Shrink(p.modules, exact, c.in, slots, p.stride)
				y, v := b.blank(len(want)*act.Size()), b.blank(4*len(wantV))
				n.Y = y.Range
				for j, tuning := range tunings {
					if j > 1 && (i+j)%5 > 0 || j > 5 && act != weights.F32 && brief() {
						continue
					}
					k, s := kernels(t, tuning, act, act), p.shrink(b, vk.Range{}, v, slots, tuning, j == 0)
					n.Shrink = &s
					b.dispatch(func(rec *vk.Recorder) error { return k.Norm(rec, n) }, y, v)
					what := fmt.Sprintf("%v, %+v", c, tuning)
					requireClose(t, want, y.numbers(b, act), act, what)
					requireClose(t, wantV, v.numbers(b, weights.F32), weights.F32, what)
				}
			}
		})
	}
}

// What float16 cannot hold is kept at its ends, and NaN stays NaN.
func TestNormStoresWhatIsTooLarge(t *testing.T) {
	for act, want := range map[weights.DType][]float64{
		weights.F16:  {65504, -65504, nan, 0},
		weights.BF16: {ref.RoundBF16(1e6), ref.RoundBF16(-1e6), nan, 0},
		weights.F32:  {1e6, -1e6, nan, 0},
	} {
		b := newBench(t, 27)
		y := b.holding(make([]byte, 4*act.Size()))
		n := engine.Norm{
			X: b.stored([]float32{1, -1, 1, -1}, weights.F32), G: b.stored([]float32{1e6, 1e6, float32(nan), 0}, weights.F32),
			Y: y.Range, Rows: 1, Width: 4,
		}
		k := kernels(t, tuning(t, "software"), act, act)
		b.dispatch(func(rec *vk.Recorder) error { return k.Norm(rec, n) }, y)
		requireClose(t, want, y.numbers(b, act), act, act)
	}
}
