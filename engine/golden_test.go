package engine_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/engine/weights"
	"loquetier/virtualmod"
)

// The reference cases of testdata/golden/tiny, made with PyTorch and PEFT.
const tiny = "../testdata/golden/tiny"

var (
	tinyModels = []string{"llama", "llama3-rope-tied", "qwen2", "qwen3"}
	variants   = []string{"base", "qv-r8", "all-r16", "mlp-r4-rslora", "odd-r5", "pattern", "dora-r8"}
)

// bench is a tiny model with its six adapters and its expected results.
type bench struct {
	t        *testing.T
	engine   *engine.Engine
	base     *virtualmod.Base
	expected expected
	logits   map[string]weights.Tensor
	next     int32 // cache block to hand out
}

type expected struct {
	Prompts  [][]int32
	Base     answers
	Adapters map[string]answers
}

type answers struct {
	Greedy []struct {
		Tokens []int32
		MinGap float64 `json:"min_gap"`
	}
}

func (e expected) of(variant string) answers {
	if variant == "base" {
		return e.Base
	}
	return e.Adapters[variant]
}

// openTiny loads a tiny model with its adapters on the first device.
func openTiny(t *testing.T, model string, config engine.Config) *bench {
	t.Helper()
	device, err := engine.OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, device.Close()) })
	b := &bench{t: t}
	dir := filepath.Join(tiny, model)
	b.engine = loadModel(t, device, filepath.Join(dir, "model"), config)
	b.base = virtualmod.NewBase(b.engine)
	for _, v := range variants[1:] {
		b.attach(v, filepath.Join(dir, "adapters", v))
	}
	data, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &b.expected))
	folder, err := weights.OpenDir(dir)
	require.NoError(t, err)
	t.Cleanup(func() { folder.Close() })
	tensors, err := weights.ReadTensors(folder, "logits.safetensors")
	require.NoError(t, err)
	b.logits = map[string]weights.Tensor{}
	for _, tensor := range tensors {
		b.logits[tensor.Name] = tensor
	}
	return b
}

func loadModel(t testing.TB, device *engine.Device, dir string, config engine.Config) *engine.Engine {
	t.Helper()
	folder, err := weights.OpenDir(dir)
	require.NoError(t, err)
	checkpoint, err := weights.Open(folder)
	require.NoError(t, err)
	defer checkpoint.Close()
	e, err := engine.New(t.Context(), device, checkpoint, config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func (b *bench) attach(name, dir string) {
	b.t.Helper()
	folder, err := weights.OpenDir(dir)
	require.NoError(b.t, err)
	defer folder.Close()
	require.NoError(b.t, b.base.Attach(name, folder))
	require.NoError(b.t, b.base.Prefetch(name))
}

func (b *bench) slot(variant string) int {
	if variant == "base" {
		return batch.Base
	}
	lease, err := b.base.Acquire(variant)
	require.NoError(b.t, err)
	b.t.Cleanup(lease.Release)
	return lease.Slot()
}

// blocks hands out cache blocks for a number of tokens, last ones first.
func (b *bench) blocks(tokens int) []int32 {
	n := (tokens + batch.BlockSize - 1) / batch.BlockSize
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(b.engine.CacheBlocks()) - 1 - b.next
		b.next++
	}
	return out
}

func (b *bench) run(spans ...batch.Span) [][]batch.Pick {
	b.t.Helper()
	result, err := b.engine.Run(&batch.Step{Spans: spans, Backward: batch.All})
	require.NoError(b.t, err)
	return result.Picks
}

// prompt is a span of prompt i with the logits of its last rows wanted.
func (b *bench) prompt(variant string, i int) batch.Span {
	tokens := b.expected.Prompts[i]
	span := batch.Span{Kind: batch.Prefill, Slot: b.slot(variant), Tokens: tokens, Blocks: b.blocks(len(tokens) + 16)}
	for row := max(0, len(tokens)-12); row < len(tokens); row++ {
		span.Wants = append(span.Wants, batch.Want{Row: row, Target: -1, Logits: true, Sampling: batch.Greedy()})
	}
	return span
}

// reference are the expected logits of prompt i: [rows][vocab].
func (b *bench) reference(variant string, i int) [][]float32 {
	t, ok := b.logits[variant+".logits."+string(rune('0'+i))]
	require.True(b.t, ok)
	flat, rows := t.Float32s(), make([][]float32, t.Shape[0])
	for r := range rows {
		rows[r] = flat[r*t.Shape[1] : (r+1)*t.Shape[1]]
	}
	return rows
}

func logitsOf(picks []batch.Pick) [][]float32 {
	out := make([][]float32, len(picks))
	for i, p := range picks {
		out[i] = p.Logits
	}
	return out
}

// distance is the largest difference over the largest magnitude of want.
func distance(got, want [][]float32) float64 {
	var diff, top float64
	for i := range want {
		for j := range want[i] {
			diff = math.Max(diff, math.Abs(float64(got[i][j]-want[i][j])))
			top = math.Max(top, math.Abs(float64(want[i][j])))
			if got[i][j] != got[i][j] {
				return math.Inf(1)
			}
		}
	}
	return diff / top
}
