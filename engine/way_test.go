package engine

import (
	"testing"

	"github.com/stretchr/testify/assert"
	must "github.com/stretchr/testify/require"

	"loquetier/engine/vk"
	"loquetier/shaders"
)

// Products of some dozens of rows go to the kernels for few rows, which read each
// weight once, unless there are tiles enough to keep the device busy with larger ones.
func TestEnoughForMatrix(t *testing.T) {
	tuning, err := shaders.TuningNamed("gpu")
	must.NoError(t, err)
	k := &Kernels{Tuning: tuning}
	some := LoRA{Slots: vk.Range{Address: 1, Size: 4}}
	for _, c := range []struct {
		rows  int
		outs  []int
		gated bool
		lora  LoRA
		want  bool
	}{
		{rows: 32, outs: []int{14336, 14336}, gated: true},
		{rows: 33, outs: []int{14336, 14336}, gated: true, want: true},
		{rows: 64, outs: []int{14336, 14336}, gated: true, want: true},
		{rows: 64, outs: []int{14336, 14336}, gated: true, lora: some},
		{rows: 65, outs: []int{14336, 14336}, gated: true, lora: some, want: true},
		{rows: 64, outs: []int{8192, 8192}, gated: true},
		{rows: 128, outs: []int{8192, 8192}, gated: true, want: true},
		{rows: 64, outs: []int{128256}, want: true},
		{rows: 64, outs: []int{4096, 1024, 1024}},
		{rows: 128, outs: []int{4096, 1024, 1024}},
		{rows: 128, outs: []int{4096}},
	} {
		l := Linear{Product: Product{In: 4096, Outs: c.outs}, LoRA: c.lora, Rows: c.rows}
		if c.gated {
			l.Epilogue = SiLU
		}
		assert.Equal(t, c.want, k.enoughForMatrix(l), "%+v", c)
	}
}

// Workgroups share the tiles of a product that has too few of them for the device, for
// as long as each has some of its inner dimension and there is room for what they leave.
func TestSharesTiles(t *testing.T) {
	tuning, err := shaders.TuningNamed("gpu")
	must.NoError(t, err)
	k, room := &Kernels{Tuning: tuning}, vk.Range{Address: 1, Size: 1 << 30}
	some := LoRA{Slots: vk.Range{Address: 1, Size: 4}}
	for _, c := range []struct {
		rows, in int
		outs     []int
		lora     LoRA
		full     bool // no room
		want     int
	}{
		{rows: 64, in: 4096, outs: []int{4096}, want: 1},
		{rows: 65, in: 4096, outs: []int{4096}, want: 4},
		{rows: 65, in: 4096, outs: []int{4096}, full: true, want: 1},
		{rows: 128, in: 4096, outs: []int{4096}, lora: some, want: 4},
		{rows: 128, in: 512, outs: []int{4096}, want: 2},
		{rows: 128, in: 4096, outs: []int{4096, 1024, 1024}, want: 2},
		{rows: 129, in: 4096, outs: []int{4096, 1024, 1024}, want: 1},
		{rows: 256, in: 14336, outs: []int{4096}, want: 2},
		{rows: 512, in: 14336, outs: []int{4096}, want: 1},
	} {
		l := Linear{Product: Product{In: c.in, Outs: c.outs}, LoRA: c.lora, Rows: c.rows, Scratch: room}
		if c.full {
			l.Scratch = vk.Range{}
		}
		assert.Equal(t, c.want > 1, k.sharesTiles(l), "%+v", c)
		if c.want > 1 {
			assert.Equal(t, c.want, l.matrixSplits(tuning.MatrixShared), "%+v", c)
		}
	}
}

// Rows of up to two tiles of the kernels for few rows stay there where their adapters
// change all the time, whatever was measured with one adapter for all of them.
func TestManyAdapters(t *testing.T) {
	tuning, err := shaders.TuningNamed("gpu")
	must.NoError(t, err)
	k := &Kernels{Tuning: tuning}
	for _, c := range []struct {
		rows, run int
		base      bool
		want      bool
	}{
		{rows: 2, run: 1, want: true}, {rows: 96, run: 1, want: true}, {rows: 128, want: true}, {rows: 128, run: 4, want: true},
		{rows: 128, run: 8}, {rows: 128, run: 256}, {rows: 129, run: 1}, {rows: 96, base: true},
	} {
		l := Linear{Rows: c.rows, LoRA: LoRA{Slots: vk.Range{Address: 1, Size: 4}, Run: c.run}}
		if c.base {
			l.LoRA = LoRA{}
		}
		assert.Equal(t, c.want, k.manyAdapters(l), "%+v", c)
	}
}

// Gradients take matrices from a dozen rows on, in low tiles while rows are few.
func TestMatrixOfGrad(t *testing.T) {
	tuning, err := shaders.TuningNamed("gpu")
	must.NoError(t, err)
	k := &Kernels{Tuning: tuning}
	for _, c := range []struct {
		rows int
		want *shaders.MatrixTile
	}{{15, nil}, {16, &tuning.MatrixLow}, {256, &tuning.MatrixLow}, {512, &tuning.Matrix}, {1024, &tuning.MatrixGrad}} {
		assert.Equal(t, c.want, k.matrixOfGrad(LinearGrad{Product: Product{In: 4096, Outs: []int{4096}}, Rows: c.rows}), "%d rows", c.rows)
	}
	few := LinearGrad{Product: Product{In: 4096, Outs: []int{4096}}, Rows: 128, Scratch: vk.Range{Address: 1, Size: 1 << 30}}
	assert.Equal(t, &tuning.MatrixShared, k.matrixOfGrad(few))
	assert.Nil(t, (&Kernels{}).matrixOfGrad(LinearGrad{Rows: 4096}))
}
