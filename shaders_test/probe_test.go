package shaders_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// probed are small classes of products, of every sort.
var probed = []shaders.Class{
	{Rows: 2, In: 64, Out: 64}, {Rows: 12, In: 64, Out: 64}, {Rows: 12, In: 64, Out: 128, Gated: true, Adapters: true}, {Rows: 12, In: 64, Out: 128, Grad: true, Adapters: true},
}

// smallShapes is the GPU's tuning, on a software device with fewer and smaller tiles.
func smallShapes(t *testing.T) shaders.Tuning {
	row := tuning(t, "gpu")
	if device.Info.Type == vk.CPU {
		row.MatrixRows, row.Matrix, row.MatrixGrad = 4, matrixTiles(t)[0], matrixTiles(t)[2]
		row.MatrixShared = shaders.MatrixTile{}
		row.MatrixTiles, row.MatrixLow, row.GradRows, row.GradLowRows = 0, shaders.MatrixTile{}, 4, 0
		row.Few, row.Trials = fews()[:1], shaders.Trials{}
	}
	return row
}

// What the device finds to be the fastest is as right as any other way.
func TestMeasuredWaysComputeProducts(t *testing.T) {
	for _, dt := range types[:2] {
		k, err := engine.NewKernels(device, smallShapes(t), dt, dt)
		require.NoError(t, err)
		done := 0
		trials, err := k.Probe(probed, time.Hour, func(n, total int) { done = n; assert.Equal(t, len(probed), total) })
		require.NoError(t, err)
		assert.Equal(t, len(probed), done)
		k.Choices = engine.Choices(trials)
		assert.Len(t, k.Choices, len(probed))
		b := newBench(t, 71)
		for _, c := range k.Choices {
			p := linearCase{shape: shape{in: c.In, outs: []int{c.Out}}, rows: c.Rows, narrow: dt != weights.F32}
			if c.Adapters {
				p.ranks, p.popularity = ranks, "uniform"
			}
			if c.Gated {
				p.outs, p.epilogue = []int{c.Out / 2, c.Out / 2}, engine.SiLU
			}
			if what := fmt.Sprintf("%v %+v", dt, c); c.Grad {
				p.train = true
				l, want, dx := b.newLinearGrad(p, dt, dt)
				b.dispatch(func(rec *vk.Recorder) error { return k.LinearGrad(rec, l) }, dx)
				requireClose(t, want, dx.numbers(b, weights.F32), weights.F32, what)
			} else {
				l := b.newLinear(p, dt, dt)
				l.check(b, k, nil, what)
			}
		}
	}
}
