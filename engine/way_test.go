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
	assert.Nil(t, (&Kernels{}).matrixOfGrad(LinearGrad{Rows: 4096}))
}
