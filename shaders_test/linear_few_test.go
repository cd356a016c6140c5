package shaders_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// fews are the shapes of the tunings, and some others that fit the device's
// matrices and subgroups.
func fews() []shaders.Few {
	size := uint32(device.Info.SubgroupSize)
	all := []shaders.Few{
		{Workgroup: 4 * size, Rows: 16, Columns: 32, Depth: 64, Across: 2, Groups: 8},
		{Workgroup: 2 * size, Rows: 32, Columns: 64, Depth: 32, Across: 2},
		{Workgroup: 4 * size, Rows: 16, Columns: 32, Depth: 128, Across: 1, Groups: 100},
	}
	if size == 32 {
		row := shaders.Tunings()[1]
		all = append(append(all, row.Few...), row.Trials.Few...)
	}
	return all
}

func TestLinearFew(t *testing.T) {
	for _, act := range matrixTypes(t) {
		t.Run(fmt.Sprint(act), func(t *testing.T) {
			b, k := newBench(t, 33), kernels(t, tuning(t, "gpu"), act, act)
			scratch, counts := b.blank(1<<20), b.holding(make([]byte, 1<<10))
			for i, c := range linearCases() {
				c.in = (c.in + 7) / 8 * 8 * (1 + i%3)
				l := b.newLinear(c, act, act)
				l.Scratch, l.Counts = scratch.Range, counts.Range
				for j, f := range fews() {
					if brief() && (i+j)%6 > 0 {
						continue
					}
					l.Few = &f
					l.check(b, k, nil, fmt.Sprintf("%v, %+v", c, f))
				}
			}
		})
	}
}

// An adapter with numbers that are none spoils its own rows alone.
func TestFewRowsKeepAdaptersApart(t *testing.T) {
	for _, act := range matrixTypes(t) {
		b, k := newBench(t, 37), kernels(t, tuning(t, "gpu"), act, act)
		c := linearCase{shape: shape{in: 64, outs: []int{36}, ranks: []int{4, 8}, sick: true}, rows: 12, popularity: "uniform"}
		l := b.newLinear(c, act, act)
		l.Few = &fews()[0]
		b.dispatch(func(rec *vk.Recorder) error { return k.Linear(rec, l.Linear) }, l.y)
		got, own := l.y.numbers(b, weights.F32), 6*36
		for row := range 6 {
			require.True(t, math.IsNaN(got[row*36]), "row %d: %v, oracle %v", row, got[row*36], l.want[row*36])
		}
		requireClose(t, l.want[own:], got[own:], weights.F32, act)
	}
}
