package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// vectors are the matrix-vector shapes of the tunings, and some others.
func vectors() []shaders.Vector {
	all := []shaders.Vector{
		{MaxRows: 1, Workgroup: 64, Columns: 8, Depth: 1},
		{MaxRows: 3, Workgroup: 32, Columns: 4, Depth: 4},
		{MaxRows: 2, Workgroup: 256, Columns: 4, Depth: 2},
		{MaxRows: 3, Workgroup: 64, Columns: 4, Depth: 2, SplitK: true},
		{MaxRows: 2, Workgroup: 256, Columns: 8, Depth: 1, SplitK: true},
	}
	for _, t := range shaders.Tunings() {
		all = append(append(all, t.Vector...), t.Trials.Vector...)
	}
	return all
}

func needSums(t *testing.T) {
	if !device.Info.SubgroupArithmetic {
		t.Skip("the device's subgroups cannot sum")
	}
}

// stride is which of the cases and shapes are tested: all, but on a software device, which
// takes two seconds to compile one, every so manieth.
func stride() int {
	switch {
	case brief():
		return 41
	case device.Info.Type == vk.CPU:
		return 11
	}
	return 1
}

func TestLinearVector(t *testing.T) {
	needSums(t)
	for n, types := range pairs {
		t.Run(fmt.Sprint(types.weight, types.act), func(t *testing.T) {
			b, k := newBench(t, 31), kernels(t, tuning(t, "gpu"), types.weight, types.act)
			cases := append(linearCases(), // with more ranks than a subgroup's lanes take at a time, and rows of the base
				linearCase{shape: shape{in: 64, outs: []int{9}, ranks: []int{132, 8, 260}}, rows: 7, popularity: "mixed"},
				linearCase{shape: shape{in: 4616, outs: []int{5, 9, 4}, ranks: ranks, bias: true}, rows: 3, popularity: "mixed", epilogue: engine.Add},
				linearCase{shape: shape{in: 1544, outs: []int{20, 20}, ranks: ranks, dora: true}, rows: 2, popularity: "distinct", epilogue: engine.SiLU})
			for i, c := range cases {
				c.in = (c.in + 7) / 8 * 8
				l := b.newLinear(c, types.weight, types.act)
				for j, v := range vectors() {
					if (i*len(vectors())+j+n)%stride() > 0 {
						continue
					}
					l.Vector = &v
					l.check(b, k, nil, fmt.Sprintf("%v, %+v", c, v))
				}
			}
		})
	}
}

// The residual stream goes in, and the sums are those of its norm.
func TestLinearVectorWithNorm(t *testing.T) {
	needSums(t)
	for i, types := range pairs {
		b, k := newBench(t, 32), kernels(t, tuning(t, "gpu"), types.weight, types.act)
		for j, v := range vectors() {
			if brief() && (i+j)%4 > 0 {
				continue
			}
			c := linearCase{
				shape: shape{in: []int{192, 8, 264, 2312, 40}[(i+j)%5], outs: []int{20, 20}, ranks: ranks}, rows: 1 + (i+j)%4,
				popularity: "distinct", epilogue: []engine.Epilogue{engine.Plain, engine.SiLU}[j%2],
			}
			l := b.newLinear(c, types.weight, types.act)
			x, g := b.normal(c.rows*c.in, 3, weights.F32), b.normal(c.in, 1, weights.F32)
			l.X, l.Norm, l.Eps, l.Vector = b.stored(x, weights.F32), b.stored(g, weights.F32), eps, &v
			l.oracle.X = l.oracle.X[:0]
			for _, h := range ref.Norm(x, g, eps, nil) {
				l.oracle.X = append(l.oracle.X, float32(h))
			}
			l.want = l.oracle.Run()
			l.check(b, k, nil, fmt.Sprintf("%v, %+v", c, v))
		}
	}
}
