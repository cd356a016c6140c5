package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/weights"
	"loquetier/models"
)

// storyTraining is one of the reference trainings of the embedded model: in
// float32, with PyTorch and PEFT on a GPU.
type storyTraining struct {
	Recipe struct{ LR float64 }
	Log    []struct {
		Loss     float64
		GradNorm float64 `json:"grad_norm"`
		LR       float64
	}
	EvalBefore float64 `json:"eval_before"`
	EvalAfter  float64 `json:"eval_after"`
}

// storyData are the files of the reference trainings, which are not part of
// the project: the folder that LOQUETIER_DATA names.
var storyData = map[string]struct {
	train, eval, flags string
	once               int // steps until the data begins again
}{
	"upper":       {"upper.train.jsonl", "upper.eval.jsonl", "", 300},
	"shakespeare": {"shakespeare.train.jsonl", "shakespeare.eval.jsonl", "", 300},
	// 1606 blocks. Then the reference goes on around the token stream, while the
	// program drops the last token and begins with the first block.
	"shakespeare-text": {"shakespeare-text.train.txt", "shakespeare-text.eval.txt", "--block 128", 200},
}

const storyReference = "../testdata/golden/stories"

func readStoryTraining(t *testing.T, name string) (r storyTraining) {
	data, err := os.ReadFile(filepath.Join(storyReference, "reference.json"))
	require.NoError(t, err)
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &all))
	require.NoError(t, json.Unmarshal(all[name], &r))
	return r
}

// logged is a line of a training log.
type logged struct {
	Step     int
	Loss     float64
	GradNorm float64 `json:"grad_norm"`
	LR       float64
	Targets  int
	Tokens   int
	EvalLoss *float64 `json:"eval_loss"`

	TokensPerSecond float64 `json:"tokens_per_s"`
}

// trainStory runs a recipe for some of its steps and returns its log and the
// folder of the adapter.
func trainStory(t *testing.T, name, dtype string, steps int) ([]logged, string) {
	folder := os.Getenv("LOQUETIER_DATA")
	if folder == "" {
		t.Skip("LOQUETIER_DATA does not name a folder with the reference trainings' data")
	}
	out, files := filepath.Join(t.TempDir(), "out"), storyData[name]
	data := filepath.Join(folder, files.train)
	if steps > files.once {
		data, files.flags = around(t, data, 128, 8*steps), ""
	}
	args := fmt.Sprintf("train --model stories --dtype %s --init %s --data %s --out %s --steps 300 --stop-after %d"+
		" --micro-batch 8 --no-shuffle --lr %g --warmup 10 --weight-decay 0 --clip 1 %s", dtype,
		filepath.Join(storyReference, name+"-init"), data, out, steps, readStoryTraining(t, name).Recipe.LR, files.flags)
	o := call(t, strings.Fields(args)...)
	require.Equal(t, exitOK, o.code, o.err)
	log, err := os.ReadFile(filepath.Join(out, "training_log.jsonl"))
	require.NoError(t, err)
	return decode[logged](t, string(log)), out
}

// around writes blocks of a text's token stream that go on from its beginning
// where it ends, as token ids.
func around(t *testing.T, name string, block, blocks int) string {
	x, err := loadText(weights.OpenFS(models.Stories(), stories))
	require.NoError(t, err)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	ids, err := x.Tokenizer.Encode(string(text), false)
	require.NoError(t, err)
	var lines strings.Builder
	for b := range blocks {
		var line struct {
			IDs []int32 `json:"ids"`
		}
		for k := range block {
			line.IDs = append(line.IDs, ids[(b*block+k)%len(ids)])
		}
		data, err := json.Marshal(line)
		require.NoError(t, err)
		lines.Write(append(data, '\n'))
	}
	return write(t, "around.jsonl", lines.String())
}

// evaluateStory is the loss of an adapter on a recipe's evaluation data.
func evaluateStory(t *testing.T, name, adapter string) float64 {
	files := storyData[name]
	args := fmt.Sprintf("eval --model stories --dtype f32 --adapter it=%s --use it --data %s --json %s",
		adapter, filepath.Join(os.Getenv("LOQUETIER_DATA"), files.eval), files.flags)
	if files.flags != "" {
		args += " --max-blocks 100"
	}
	return decode[evaluation](t, succeed(t, strings.Fields(args)...))[0].Loss
}

// The first steps of the reference trainings; with LOQUETIER_LONG all of them,
// and the evaluation.
func TestStoryTrainings(t *testing.T) {
	for name := range storyData {
		t.Run(name, func(t *testing.T) {
			steps, tolerance := 10, 2e-3
			if os.Getenv("LOQUETIER_LONG") != "" {
				steps = 300
			}
			reference := readStoryTraining(t, name)
			log, adapter := trainStory(t, name, "f32", steps)
			require.Len(t, log, steps)
			worst := 0.0
			for i, l := range log {
				want := reference.Log[i]
				require.InEpsilon(t, want.Loss, l.Loss, tolerance, "loss of step %d", i)
				require.InEpsilon(t, want.LR, l.LR, 1e-9, "learning rate of step %d", i)
				worst = max(worst, math.Abs(l.Loss/want.Loss-1))
			}
			t.Logf("%d steps, losses off by at most %.1e", steps, worst)
			if steps == 300 {
				loss := evaluateStory(t, name, adapter)
				t.Logf("evaluation loss %.6f, reference %.6f", loss, reference.EvalAfter)
				assert.InEpsilon(t, reference.EvalAfter, loss, 5e-3)
			}
		})
	}
}

// A whole recipe in the narrow types stays near float32's losses.
func TestNarrowStoryTrainings(t *testing.T) {
	if os.Getenv("LOQUETIER_LONG") == "" {
		t.Skip("takes long: set LOQUETIER_LONG")
	}
	for _, dtype := range []string{"f16", "bf16"} {
		t.Run(dtype, func(t *testing.T) {
			reference, worst := readStoryTraining(t, "upper"), 0.0
			log, _ := trainStory(t, "upper", dtype, 300)
			for i, l := range log {
				require.InEpsilon(t, reference.Log[i].Loss, l.Loss, 3e-2, "loss of step %d", i)
				worst = max(worst, l.Loss/reference.Log[i].Loss-1, 1-l.Loss/reference.Log[i].Loss)
			}
			t.Logf("losses off by at most %.1e", worst)
		})
	}
}
