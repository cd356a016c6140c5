package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/shaders"
)

// deviceInfo is the device that tests run on.
func deviceInfo(t *testing.T) vk.Info {
	devices, err := engine.Devices()
	require.NoError(t, err)
	info, err := vk.Select(devices, "")
	require.NoError(t, err)
	return info
}

// smallMatrices are shapes for a software device with cooperative matrices, as
// lavapipe of Mesa 26 is; the families' own are for GPUs and take it minutes to compile.
// A GPU runs these kernels in all other tests.
func smallMatrices(t *testing.T) *shaders.Tuning {
	info := deviceInfo(t)
	if info.Type != vk.CPU || info.MatrixF16 == (vk.Shape{}) {
		t.Skip("no software device with cooperative matrices: make test-matrix brings one")
	}
	row, err := shaders.TuningNamed("software")
	require.NoError(t, err)
	lanes, size := uint32(info.SubgroupSize), uint32(info.MatrixF16.M)
	row.Few = []shaders.Few{{MaxRows: 16, Workgroup: 2 * lanes, Rows: 16, Columns: 2 * size, Depth: 32, Across: 2, Groups: 8}}
	row.MatrixRows, row.Matrix = 17, shaders.MatrixTile{Rows: 16, Columns: 32, Depth: 32, SubgroupRows: 8, SubgroupColumns: 16, Shares: 1}
	row.MatrixGrad, row.GradRows = row.Matrix, 17
	row.AdapterMatrix = shaders.OnMatrices{Subgroups: 2, Depth: 32, Across: 2, Shares: 2}
	row.Tall = shaders.Tall{From: 17, Workgroup: 8, Rows: 8, Quads: 1}
	tile := shaders.AttentionTile{Subgroups: 2, Units: 1, Columns: 16, Stages: 1}
	row.PrefillMatrix, row.GradQMatrix, row.GradKVMatrix = []shaders.AttentionTile{tile}, []shaders.AttentionTile{tile}, []shaders.AttentionTile{tile}
	return &row
}

// requireRan fails unless each kernel has run.
func requireRan(t *testing.T, e *engine.Engine, kernels ...string) {
	t.Helper()
	var ran []string
	for _, c := range e.ProfileCalls() {
		ran = append(ran, c.Name)
	}
	for _, name := range kernels {
		require.True(t, slices.ContainsFunc(ran, func(s string) bool { return strings.HasPrefix(s, name) }), "%s is not among %v", name, ran)
	}
}

func TestLogitsOnSmallMatrices(t *testing.T) {
	b := openTiny(t, "llama", engine.Config{DType: "f16", MaxRows: 1024, Tuning: smallMatrices(t), Profile: true})
	for _, mix := range mixes {
		sum := 0.0
		for i, logits := range b.runMix(mix) {
			d := distance(logits, b.reference(mix[i].variant, mix[i].prompt))
			require.LessOrEqual(t, d, narrowOnMatrices["f16"].worst, "%+v", mix[i])
			sum += d
		}
		require.LessOrEqual(t, sum/float64(len(mix)), narrowOnMatrices["f16"].mean, "mean")
	}
	requireRan(t, b.engine, "linear_few-f16", "linear_matrix-f16", "shrink_matrix-f16", "attention_prefill_matrix-f16")
}

func TestTrainingOnSmallMatrices(t *testing.T) {
	config := trainConfig()
	config.DType, config.Tuning, config.Profile = "f16", smallMatrices(t), true
	b := openTiny(t, "llama", config)
	j := b.train(readRecipe(t, "llama", recipes[0]))
	for range j.Log[:4] {
		outcomes, _ := b.trainStep([]*job{j})
		j.requireOutcome(outcomes[0], 3e-2)
		j.step++
	}
	requireRan(t, b.engine, "linear_grad_matrix-f16", "shrink_grad_matrix-f16", "lora_grad_matrix-f16", "attention_grad_q_matrix-f16", "attention_grad_kv_matrix-f16")
}
