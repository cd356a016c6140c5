package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"loquetier/engine/weights"
)

// tinyTraining is a reference training of a tiny model, made with PyTorch and
// PEFT, as the command line is to repeat it.
type tinyTraining struct {
	model, dir, data string
	args             []string
	Accumulation     int
	MicroBatches     [][]json.RawMessage `json:"micro_batches"`
	Log              []struct {
		Loss     float64
		GradNorm float64 `json:"grad_norm"`
		LR       float64
		Targets  int `json:"target_tokens"`
	}
	GreedyAfter struct{ Prompt, Tokens []int32 } `json:"greedy_after"`
}

const tinyModels = "../testdata/golden/tiny"

func readTinyTraining(t *testing.T, model, recipe string) tinyTraining {
	r := tinyTraining{model: filepath.Join(tinyModels, model, "model"), dir: filepath.Join(tinyModels, model, recipe)}
	data, err := os.ReadFile(filepath.Join(r.dir, "expected.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &r))
	lines := ""
	for _, micro := range r.MicroBatches {
		for _, sequence := range micro {
			lines += strings.ReplaceAll(string(sequence), "\n", "") + "\n"
		}
	}
	r.data = write(t, "data.jsonl", lines)
	r.args = strings.Fields(fmt.Sprintf("train --model %s --dtype f32 --data %s --init %s --steps %d --micro-batch 3 --accumulate %d"+
		" --no-shuffle --lr 0.01 --warmup 3 --weight-decay 0.01 --clip 1", r.model, r.data, filepath.Join(r.dir, "init"), len(r.Log), r.Accumulation))
	return r
}

// train runs a training with more flags and returns what it logged.
func (r tinyTraining) train(t *testing.T, out string, more ...string) []logged {
	t.Helper()
	o := call(t, append(append(r.args, "--out", out), more...)...)
	require.Equal(t, exitOK, o.code, o.err)
	return logOf(t, out)
}

func logOf(t *testing.T, out string) []logged {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(out, "training_log.jsonl"))
	require.NoError(t, err)
	all := decode[logged](t, string(log))
	for i := range all {
		all[i].TokensPerSecond = 0 // that alone may differ
	}
	return all
}

func (r tinyTraining) requireLog(t *testing.T, log []logged) {
	t.Helper()
	require.Len(t, log, len(r.Log))
	for i, want := range r.Log {
		require.InEpsilon(t, want.Loss, log[i].Loss, 1e-3, "loss of step %d", i)
		require.InEpsilon(t, want.GradNorm, log[i].GradNorm, 1e-3, "gradient norm of step %d", i)
		require.InEpsilon(t, want.LR, log[i].LR, 1e-9, "learning rate of step %d", i)
		require.Equal(t, want.Targets, log[i].Targets)
	}
}

var tinyTrainings = []string{"train-all-r8", "train-qv-r4-accum2"}

// What is written is a PEFT adapter like the reference's, and the program
// that loads it says what the reference says.
func TestTrainRepeatsTheReference(t *testing.T) {
	for _, model := range []string{"llama", "qwen3"} {
		for _, recipe := range tinyTrainings {
			t.Run(model+"/"+recipe, func(t *testing.T) {
				r, out := readTinyTraining(t, model, recipe), filepath.Join(t.TempDir(), "out")
				r.requireLog(t, r.train(t, out))
				requireSameAdapter(t, filepath.Join(r.dir, "final"), out)
				prompt, err := json.Marshal(r.GreedyAfter.Prompt)
				require.NoError(t, err)
				requests := write(t, "requests.jsonl", fmt.Sprintf(`{"id":"a","adapter":"it","prompt":%s,"max_tokens":16,"temperature":0,"ignore_eos":true}`, prompt))
				replies := decode[got](t, succeed(t, "generate", "--model", r.model, "--dtype", "f32", "--adapter", "it="+out, "--requests", requests))
				assert.Equal(t, r.GreedyAfter.Tokens, replies[0].Tokens)
				svg, err := os.ReadFile(filepath.Join(out, "loss.svg"))
				require.NoError(t, err)
				assert.Contains(t, string(svg), "<svg")
			})
		}
	}
}

// requireSameAdapter compares two PEFT folders: the same tensors in the same
// types, near each other, and the same fields.
func requireSameAdapter(t *testing.T, want, got string) {
	t.Helper()
	expected, actual := tensorsOf(t, want), tensorsOf(t, got)
	require.Len(t, actual, len(expected))
	for i, e := range expected {
		a := actual[i]
		require.Equal(t, []any{e.Name, e.DType, e.Shape}, []any{a.Name, a.DType, a.Shape})
		require.InDeltaSlice(t, e.Float32s(), a.Float32s(), 2e-3, e.Name)
	}
	a, b := configOf(t, want), configOf(t, got)
	require.ElementsMatch(t, a["target_modules"], b["target_modules"])
	for _, differs := range []string{"base_model_name_or_path", "target_modules"} {
		delete(a, differs)
		delete(b, differs)
	}
	require.Equal(t, a, b)
}

func tensorsOf(t *testing.T, dir string) []weights.Tensor {
	folder, err := weights.OpenDir(dir)
	require.NoError(t, err)
	t.Cleanup(func() { folder.Close() })
	list, err := weights.ReadTensors(folder, "adapter_model.safetensors")
	require.NoError(t, err)
	return list
}

func configOf(t *testing.T, dir string) (fields map[string]any) {
	data, err := os.ReadFile(filepath.Join(dir, "adapter_config.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &fields))
	return fields
}

// Two jobs of a file run in shared steps and log what they log alone; the
// failure of a third ends that one alone.
func TestTrainJobsAtOnce(t *testing.T) {
	a, b := readTinyTraining(t, "llama", tinyTrainings[0]), readTinyTraining(t, "llama", tinyTrainings[1])
	dir := t.TempDir()
	line := func(r tinyTraining, out string, more string) string {
		return fmt.Sprintf(`{"data":%q,"init":%q,"out":%q,"steps":12,"micro-batch":3,"accumulate":%d,"no-shuffle":true,"lr":0.01,"warmup":3%s}`,
			r.data, filepath.Join(r.dir, "init"), filepath.Join(dir, out), r.Accumulation, more) + "\n"
	}
	jobs := write(t, "jobs.jsonl", line(a, "a", "")+line(b, "b", "")+line(a, "bad", `,"lr":1e30,"schedule":"constant"`))
	o := call(t, "train", "--model", a.model, "--dtype", "f32", "--jobs", jobs)
	require.Equal(t, exitError, o.code)
	assert.Contains(t, o.err, filepath.Join(dir, "bad")+": step")
	assert.Contains(t, o.err, "was not finite in 5 steps in a row")
	a.requireLog(t, logOf(t, filepath.Join(dir, "a")))
	b.requireLog(t, logOf(t, filepath.Join(dir, "b")))
}

// A run that was stopped anywhere and resumed logs the bits of one that never
// stopped.
func TestTrainResumes(t *testing.T) {
	r, dir := readTinyTraining(t, "qwen2", tinyTrainings[1]), t.TempDir()
	whole := r.train(t, filepath.Join(dir, "whole"))
	parts := filepath.Join(dir, "parts")
	r.train(t, parts, "--stop-after", "5")
	r.train(t, parts, "--resume", "--stop-after", "6")
	require.Equal(t, whole, r.train(t, parts, "--resume"))
	assert.Equal(t, tensorsOf(t, filepath.Join(dir, "whole"))[0].Data, tensorsOf(t, parts)[0].Data)

	o := call(t, append(append(r.args, "--out", parts), "--resume", "--beta1", "0.5")...)
	require.Equal(t, exitError, o.code)
	assert.Contains(t, o.err, "--beta1: the checkpoint has 0.9, now it is 0.5")
}

// An interrupt saves; what follows is what would have followed.
func TestTrainInterrupted(t *testing.T) {
	r, dir := readTinyTraining(t, "llama", tinyTrainings[0]), t.TempDir()
	whole := r.train(t, filepath.Join(dir, "whole"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := filepath.Join(dir, "out")
	go func() {
		for range time.Tick(time.Millisecond) {
			if log, err := os.ReadFile(filepath.Join(out, "training_log.jsonl")); ctx.Err() != nil || err == nil && strings.Count(string(log), "\n") > 2 {
				cancel()
				return
			}
		}
	}()
	o := callWith(ctx, "", io.Discard, append(r.args, "--out", out)...)
	require.Contains(t, []int{exitInterrupted, exitOK}, o.code, o.err)
	require.Equal(t, whole, r.train(t, out, "--resume"))
}

// runAsProgram makes the test binary the program.
const runAsProgram = "LOQUETIER_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runAsProgram) != "" {
		os.Exit(Main(append([]string{"loquetier"}, os.Args[1:]...), os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(regexClock))
}

// regexClock keeps the time for the tokenizers' expressions and ends by itself.
const regexClock = "github.com/dlclark/regexp2/v2.runClock"

// Killed at any moment, what is in the folder can be loaded, and the run can be
// resumed to the same end.
func TestTrainKilled(t *testing.T) {
	r, dir := readTinyTraining(t, "llama", tinyTrainings[0]), t.TempDir()
	whole, out := r.train(t, filepath.Join(dir, "whole")), filepath.Join(dir, "out")
	args := append(r.args, "--out", out, "--save-every", "1")
	for kills := 0; ; kills++ {
		require.Less(t, kills, 60, "it never ends")
		more := "--overwrite"
		if latestOf(out) != "" {
			more = "--resume"
		}
		killed := killedMidway(t, out, time.Duration(kills*11%60)*time.Millisecond, append(args, more)...)
		if latest := latestOf(out); latest != "" {
			succeed(t, "adapter", "info", "--model", r.model, filepath.Join(out, "state", latest))
		}
		if !killed {
			require.Greater(t, kills, 2, "it was killed")
			break
		}
	}
	require.Equal(t, whole, logOf(t, out))
	succeed(t, "adapter", "info", "--model", r.model, out)
}

// latestOf is the checkpoint that counts in a job's folder; empty: there is none.
func latestOf(out string) string {
	latest, _ := os.ReadFile(filepath.Join(out, "state", "latest"))
	return strings.TrimSpace(string(latest))
}

// killedMidway runs a training in a process of its own and kills it, however fast the
// machine is, a delay after it has made another checkpoint; or tells that it ended
// before.
func killedMidway(t *testing.T, out string, delay time.Duration, args ...string) bool {
	t.Helper()
	before, command := latestOf(out), program(t, args...)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	require.NoError(t, command.Start())
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for latestOf(out) == before {
		select {
		case err := <-ended:
			require.NoError(t, err, output.String())
			return false
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case err := <-ended:
		require.NoError(t, err, output.String())
		return false
	case <-time.After(delay):
	}
	_ = command.Process.Kill() // it may have ended meanwhile
	return <-ended != nil
}

// Evaluations ride along and are those of the eval command.
func TestTrainEvaluates(t *testing.T) {
	r, out := readTinyTraining(t, "qwen3", tinyTrainings[0]), filepath.Join(t.TempDir(), "out")
	log := r.train(t, out, "--eval-data", r.data, "--eval-every", "4")
	evals := map[int]float64{}
	for _, l := range log {
		if l.EvalLoss != nil {
			evals[l.Step] = *l.EvalLoss
		}
	}
	require.Len(t, evals, 4)
	for step, adapter := range map[int]string{0: filepath.Join(r.dir, "init"), 12: out} {
		e := decode[evaluation](t, succeed(t, "eval", "--model", r.model, "--dtype", "f32", "--adapter", "it="+adapter, "--use", "it", "--data", r.data, "--json"))
		assert.InEpsilon(t, e[0].Loss, evals[step], 1e-5, "step %d", step)
	}
	var steps []logged
	for _, l := range log {
		if l.EvalLoss == nil {
			steps = append(steps, l)
		}
	}
	r.requireLog(t, steps)
}

func TestTrainPlan(t *testing.T) {
	r, out := readTinyTraining(t, "llama", tinyTrainings[0]), filepath.Join(t.TempDir(), "out")
	plan := succeed(t, append(r.args, "--out", out, "--plan")...)
	for _, part := range []string{"weights ", "KV cache ", "activations ", "layer inputs ", "kept activations ", "gradients ", "job ", "together "} {
		assert.Contains(t, "\n"+plan, "\n"+part)
	}
	assert.NoDirExists(t, out)
}

func TestTrainRefuses(t *testing.T) {
	r, dir := readTinyTraining(t, "llama", tinyTrainings[0]), t.TempDir()
	used := filepath.Join(dir, "used")
	require.NoError(t, os.MkdirAll(used, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(used, "mine"), nil, 0o666))
	fresh := []string{"train", "--model", r.model, "--out", filepath.Join(dir, "out")}
	long := write(t, "long.jsonl", `{"ids":[`+strings.Repeat("5,", 599)+`5]}`)
	for want, args := range map[string][]string{
		"the file is empty":              {"--data", write(t, "empty.jsonl", "")},
		"broken.jsonl: line 2: bad JSON": {"--data", write(t, "broken.jsonl", "{\"ids\":[1,2]}\n{\"ids\":[1,\n")},
		"no targets":                     {"--data", write(t, "none.jsonl", `{"ids":[1,2],"prompt_tokens":2}`)},
		"line 1: the sequence has 600 tokens, but the context is 512: shorten it, or cut it off with --truncate": {"--data", long},
		"want 1 to 512":                         {"--data", r.data, "--rank", "0"},
		`unknown target module "w_proj": known`: {"--data", r.data, "--targets", "q_proj,w_proj"},
		"--lr NaN: it takes a number above 0":   {"--data", r.data, "--lr", "nan"},
		"the folder is not empty: go on with its job by --resume, or remove that by --overwrite": {"--data", r.data, "--out", used},
		"there is no checkpoint to resume":     {"--data", r.data, "--resume"},
		"adapter of another base":              {"--data", r.data, "--init", "stories/upper"},
		"a DoRA adapter cannot be trained":     {"--data", r.data, "--init", filepath.Join(tinyModels, "llama/adapters/dora-r8")},
		"--init and --rank exclude each other": {"--data", r.data, "--init", "stories/upper", "--rank", "4"},
		"token id 999":                         {"--data", write(t, "ids.jsonl", `{"ids":[1,999]}`)},
		"it takes 2 to":                        {"--data", r.data, "--train-rows", "1"},
		`--recompute "no"`:                     {"--data", r.data, "--recompute", "no"},
		"no tokenizer.json":                    {"--data", write(t, "text.txt", "hello"), "--block", "8"},
	} {
		o := call(t, append(fresh, args...)...)
		require.NotEqual(t, exitOK, o.code, want)
		require.Contains(t, o.err, want, "%v", args)
		require.Equal(t, 1, strings.Count(o.err, "\n"), o.err)
	}
	assert.FileExists(t, filepath.Join(used, "mine"))
	require.Equal(t, exitOK, call(t, append(fresh, "--data", long, "--truncate", "--steps", "1")...).code)
}

// What a refused or planned run must leave alone: another job's files, the log
// of an earlier one, and what is not a job's.
func TestTrainLeavesAlone(t *testing.T) {
	r, dir := readTinyTraining(t, "llama", tinyTrainings[0]), t.TempDir()
	out, log := filepath.Join(dir, "out"), write(t, "log.jsonl", "mine\n")
	mine := filepath.Join(out, "state", "db", "mine")
	require.NoError(t, os.MkdirAll(filepath.Dir(mine), 0o777))
	require.NoError(t, os.WriteFile(mine, nil, 0o666))
	unchanged := func() {
		t.Helper()
		data, err := os.ReadFile(log)
		require.NoError(t, err)
		require.Equal(t, "mine\n", string(data))
	}
	require.Equal(t, exitError, call(t, append(r.args, "--out", out, "--log", log)...).code, "the folder is not empty")
	unchanged()
	require.Equal(t, exitOK, call(t, append(r.args, "--out", filepath.Join(dir, "new"), "--log", log, "--plan")...).code)
	unchanged()
	lines := r.train(t, out, "--overwrite", "--log", log)
	assert.FileExists(t, mine)
	data, err := os.ReadFile(log)
	require.NoError(t, err)
	assert.Len(t, decode[logged](t, string(data)), len(lines))

	job := func(out, log string) string {
		return fmt.Sprintf(`{"data":%q,"out":%q,"log":%q,"overwrite":true}`, r.data, out, log) + "\n"
	}
	for want, jobs := range map[string]string{
		"is another job's as well":                job(out, "") + job(filepath.Dir(out)+"/./out", ""),
		"log.jsonl\" is another job's as well":    job(out, log) + job(out+"2", log),
		"line 1: --init and --rank exclude":       fmt.Sprintf(`{"data":%q,"out":%q,"init":"x","rank":4}`, r.data, out),
		"line 1: --lr 0: it takes a number above": fmt.Sprintf(`{"data":%q,"out":%q,"lr":0}`, r.data, out),
	} {
		o := call(t, "train", "--model", r.model, "--jobs", write(t, "jobs.jsonl", jobs))
		require.Equal(t, exitError, o.code, want)
		require.Contains(t, o.err, want)
	}
}

// An interrupt that cannot save says so.
func TestTrainInterruptedOnAFullDisk(t *testing.T) {
	r, out := readTinyTraining(t, "llama", tinyTrainings[0]), filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for range time.Tick(time.Millisecond) {
			if log, err := os.ReadFile(filepath.Join(out, "training_log.jsonl")); ctx.Err() != nil || err == nil && len(log) > 0 {
				os.RemoveAll(filepath.Join(out, "state"))
				os.WriteFile(filepath.Join(out, "state"), nil, 0o666) // nothing can be saved there
				cancel()
				return
			}
		}
	}()
	more := []string{"--out", out}
	for i := range r.args {
		if r.args[i] == "--steps" {
			r.args[i+1] = "4000"
		}
	}
	o := callWith(ctx, "", io.Discard, append(r.args, more...)...)
	require.Equal(t, exitError, o.code)
	require.Contains(t, o.err, "save the checkpoint of step")
}

// Every job has a slot of its own, however many there are.
func TestTrainManyJobs(t *testing.T) {
	r, dir, jobs := readTinyTraining(t, "llama", tinyTrainings[0]), t.TempDir(), ""
	const count = 33 // one more than the slots that there are for adapters
	for i := range count {
		jobs += fmt.Sprintf(`{"data":%q,"out":%q,"rank":1,"targets":"q_proj"}`, r.data, filepath.Join(dir, fmt.Sprint(i))) + "\n"
	}
	args := strings.Fields("train --model " + r.model + " --steps 1 --micro-batch 1 --jobs " + write(t, "jobs.jsonl", jobs))
	o := call(t, append(args, "--slots", "32")...)
	require.Equal(t, outcome{code: exitUsage, err: "loquetier: train: --slots 32: 33 jobs take 33\n"}, o)
	o = call(t, args...)
	require.Equal(t, exitOK, o.code, o.err)
	trained, err := filepath.Glob(filepath.Join(dir, "*", "adapter_model.safetensors"))
	require.NoError(t, err)
	require.Len(t, trained, count)
}
