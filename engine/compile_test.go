package engine_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// Mesa's RADV compiles for AMD GPUs that are not there. The test below runs
// itself in a process with such a device and compiles every kernel in every
// shape; nothing can be submitted.
const compileOnly = "LOQUETIER_TEST_COMPILE_ONLY"

func TestCompilesForAMD(t *testing.T) {
	if os.Getenv(compileOnly) != "" {
		compileEverything(t)
		return
	}
	drivers, err := filepath.Glob("/usr/share/vulkan/icd.d/radeon_icd*.json")
	require.NoError(t, err)
	if len(drivers) == 0 {
		t.Skip("no RADV on this machine (package mesa-vulkan-drivers): the kernels were not compiled for AMD")
	}
	families := []string{"navi31"}
	if os.Getenv("LOQUETIER_LONG") != "" {
		families = append(families, "navi21")
	}
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			c := exec.Command(os.Args[0], "-test.run=^TestCompilesForAMD$", "-test.v")
			c.Env = append(os.Environ(), compileOnly+"=1", "RADV_FORCE_FAMILY="+family, "RADV_DEBUG=shaderstats,nocache",
				"VK_ICD_FILENAMES="+drivers[0], "VK_DRIVER_FILES="+drivers[0], "XDG_CACHE_HOME="+t.TempDir())
			out, err := c.CombinedOutput()
			require.NoError(t, err, "%s", out)
			for _, m := range regexp.MustCompile(`(?i)(spilled vgprs|scratch size)[^\d\n]*(\d+)`).FindAllSubmatch(out, -1) {
				require.Equal(t, "0", string(m[2]), "%s on %s", m[1], family)
			}
			require.Regexp(t, `(?i)vgprs`, string(out), "shader statistics")
		})
	}
}

// compileEverything makes the pipelines of every op for every pair of storage
// types, in the shapes a GPU gets. Nothing runs, so the buffers need not exist.
func compileEverything(t *testing.T) {
	infos, err := engine.Devices()
	require.NoError(t, err)
	require.Equal(t, "AMD", infos[0].Vendor)
	device, err := engine.OpenDevice("0")
	require.NoError(t, err)
	defer device.Close()
	tuning, err := engine.TuningFor(device.Info, "")
	require.NoError(t, err)
	types := []weights.DType{weights.F32, weights.F16, weights.BF16}
	for _, weight := range types {
		for _, act := range types {
			kernels, err := engine.NewKernels(device.Device, tuning, weight, act)
			if act != weights.F32 && act != weight {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			compileOps(t, device, kernels, tuning)
			compileUnsplit(t, device, tuning, weight, act)
		}
	}
}

// compileUnsplit makes prefill attention as devices without subgroup shuffles
// get it: a query in one invocation.
func compileUnsplit(t *testing.T, device *engine.Device, tuning shaders.Tuning, weight, act weights.DType) {
	tuning.PrefillLanes = 1
	k, err := engine.NewKernels(device.Device, tuning, weight, act)
	require.NoError(t, err)
	buf := vk.Range{Address: 1 << 20, Size: 1 << 40}
	require.NoError(t, k.AttentionPrefill(device.NewRecorder(false), engine.AttentionPrefill{
		Attention: engine.Attention{
			Heads: engine.Heads{Query: 32, Key: 8, Size: 64}, Cache: engine.Cache{Keys: buf, Values: buf, Blocks: 64},
			Q: buf, Y: buf, Tables: buf, Rows: 16,
		},
		Tiles: buf, Count: 1, Longest: 16,
	}))
}

// compileTraining makes the backward kernels of products, norms and losses, and
// the optimizer's.
func compileTraining(t *testing.T, rec *vk.Recorder, k *engine.Kernels, product engine.Product, buf vk.Range) {
	t.Helper()
	for _, lora := range []engine.LoRA{{}, {V: buf, Slots: buf, Stride: 16}, {V: buf, Slots: buf, Stride: 16, Run: 256}} {
		require.NoError(t, k.LinearGrad(rec, engine.LinearGrad{Product: product, LoRA: lora, DY: buf, DX: buf, Rows: 64}))
	}
	tiles := engine.Tiles{List: buf, Count: 4}
	for _, err := range []error{
		k.ShrinkGrad(rec, engine.ShrinkGrad{Product: product, Tiles: tiles, DY: buf, U: buf, Rows: 16, Stride: 16, MaxRank: 16}),
		k.LoRAGrad(rec, engine.LoRAGrad{Product: product, Segments: buf, X: buf, DY: buf, U: buf, V: buf, Count: 1, Rows: 16, Stride: 16, MaxRank: 16}),
		k.NormGrad(rec, engine.NormGrad{X: buf, G: buf, DY: buf, DX: buf, Rows: 16, Width: 4096}),
		k.SiLUGrad(rec, engine.SiLUGrad{GateUp: buf, DY: buf, D: buf, Y: buf, Rows: 16, Width: 4096}),
		k.CrossEntropy(rec, engine.CrossEntropy{Logits: buf, D: buf, Targets: buf, Logs: buf, Rows: 16, Vocab: 128256}),
		k.GradNorm(rec, engine.GradNorm{Rows: buf, Updates: 1}),
		k.Optimizer(rec, engine.OptimizerStep{Rows: buf, Norms: buf, Updates: 1, Longest: 4096}),
	} {
		require.NoError(t, err)
	}
}

func compileOps(t *testing.T, device *engine.Device, k *engine.Kernels, tuning shaders.Tuning) {
	buf := vk.Range{Address: 1 << 20, Size: 1 << 40}
	product := engine.Product{Table: buf, Weights: []vk.Range{buf, buf}, In: 4096, Outs: []int{4096, 4096}}
	heads := engine.Heads{Query: 32, Key: 8, Size: 128}
	cache := engine.Cache{Keys: buf, Values: buf, Blocks: 64}
	rec := device.NewRecorder(false)
	check := func(err error) { t.Helper(); require.NoError(t, err) }
	for _, tile := range tuning.Linear {
		for _, epilogue := range []engine.Epilogue{engine.Plain, engine.Add, engine.SiLU, engine.SiLUKeep} {
			check(k.Linear(rec, engine.Linear{Product: product, X: buf, Y: buf, Keep: buf, Rows: 64, Epilogue: epilogue, Way: shaders.Way{Tile: &tile}}))
		}
		lora := engine.LoRA{V: buf, Slots: buf, Stride: 16}
		check(k.Linear(rec, engine.Linear{Product: product, LoRA: lora, X: buf, Y: buf, Rows: 64, Way: shaders.Way{Tile: &tile}}))
	}
	compileTraining(t, rec, k, product, buf)
	shrink := engine.Shrink{
		Product: product, Tiles: engine.Tiles{List: buf, Count: 4}, X: buf, V: buf, Rows: 16, Stride: 16, MaxRank: 16,
	}
	for rows := 1; rows <= int(tuning.ShrinkRows); rows *= 2 {
		shrink.Tiles.Rows = rows
		check(k.Shrink(rec, shrink))
		check(k.Norm(rec, engine.Norm{X: buf, G: buf, Y: buf, Rows: 16, Width: 4096, Shrink: &shrink}))
	}
	if shrink.Tall = tuning.Tall.From > 0; shrink.Tall {
		check(k.Shrink(rec, shrink))
		check(k.ShrinkGrad(rec, engine.ShrinkGrad{Product: product, Tiles: shrink.Tiles, DY: buf, U: buf, Rows: 16, Stride: 16, MaxRank: 16}))
	}
	check(k.Embed(rec, engine.Embed{W: buf, Tokens: buf, X: buf, Rows: 16, Width: 4096, Vocab: 1000}))
	check(k.Rope(rec, engine.Rope{Heads: heads, Cache: cache, QKV: buf, Q: buf, Turns: buf, Positions: buf, Cells: buf, Rows: 16, Context: 64}))
	check(k.RopeGrad(rec, engine.RopeGrad{
		Heads: heads, QKV: buf, D: buf, DQKV: vk.Range{Address: 1 << 50, Size: 1 << 40}, Turns: buf, Positions: buf, QNorm: buf, KNorm: buf,
		Rows: 16, Context: 64,
	}))
	for _, size := range []int{64, 80, 128} {
		heads.Size = size
		attention := engine.Attention{Heads: heads, Cache: cache, Q: buf, Y: buf, Tables: buf, Rows: 16}
		check(k.AttentionPrefill(rec, engine.AttentionPrefill{Attention: attention, Tiles: buf, Count: 1, Longest: 16}))
		grad := engine.AttentionGrad{
			Heads: heads, Cache: cache, Q: buf, Y: buf, DY: buf, Stats: buf, Delta: buf, D: buf, Tiles: buf, Tables: buf,
			Count: 1, Longest: 16, Rows: 16,
		}
		check(k.AttentionGradQ(rec, grad))
		check(k.AttentionGradKV(rec, grad))
		check(k.AttentionDecode(rec, engine.AttentionDecode{Attention: attention, Tiles: buf, Count: 4, Longest: 64, Scratch: buf, Counts: buf, Splits: 2}))
	}
	check(k.Dora(rec, engine.Dora{W: buf, A: buf, B: buf, Magnitude: buf, Gain: buf, Out: 64, In: 4096, Rank: 8}))
	check(k.Sample(rec, engine.Sample{Logits: buf, Params: buf, IDs: buf, Logs: buf, Rows: 1, LogitsRows: 1, Vocab: 1000, Stride: 1}))
}
