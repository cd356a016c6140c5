package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/train"
)

// moving is a training of several engine steps for an optimizer step, which is
// run by processes.
type moving struct {
	args []string // but for --out
	dir  string
	init string
}

// newMoving starts from an adapter in a folder of the test's own.
func newMoving(t *testing.T) moving {
	t.Helper()
	r := readTinyTraining(t, "llama", tinyTrainings[1])
	m := moving{dir: t.TempDir()}
	m.init = filepath.Join(m.dir, "init")
	require.NoError(t, os.CopyFS(m.init, os.DirFS(filepath.Join(r.dir, "init"))))
	m.args = strings.Fields(fmt.Sprintf("train --model %s --dtype f32 --data %s --init %s --steps 40 --micro-batch 3 --accumulate 4"+
		" --lr 0.01 --warmup 3 --eval-data %s --eval-every 5 --train-rows 40", r.model, r.data, m.init, r.data))
	return m
}

// program is the program as a process of its own.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), self, args...)
	command.Env = append(os.Environ(), runAsProgram+"=1")
	return command
}

// interrupted trains until something is logged, interrupts, and reports what
// is left.
func (m moving) interrupted(t *testing.T, out string, more ...string) (train.Info, string) {
	t.Helper()
	command := program(t, append(append(m.args, "--out", out), more...)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	require.NoError(t, command.Start())
	require.Eventually(t, func() bool {
		log, err := os.ReadFile(filepath.Join(out, "training_log.jsonl"))
		return err == nil && bytes.Count(log, []byte("\n")) > 3
	}, time.Minute, time.Millisecond)
	require.NoError(t, command.Process.Signal(os.Interrupt))
	require.ErrorContains(t, command.Wait(), "exit status 130", stderr.String())
	return decode[train.Info](t, succeed(t, "job", "info", "--json", out))[0], stderr.String()
}

// midway is interrupted in the middle of an accumulation.
func (m moving) midway(t *testing.T, more ...string) (string, string) {
	t.Helper()
	for try := range 20 {
		out := filepath.Join(m.dir, fmt.Sprint("out", try))
		flags := make([]string, len(more))
		for i, f := range more {
			flags[i] = strings.ReplaceAll(f, "TRY", fmt.Sprint(try))
		}
		info, said := m.interrupted(t, out, flags...)
		if info.Pending > 0 && info.Pending < info.Batch {
			return out, said
		}
	}
	require.Fail(t, "never in the middle of an accumulation")
	return "", ""
}

// A job that one process began, and that was interrupted in the middle of an
// accumulation, goes on in another one with the bits it would have had.
func TestAJobMovesToAnotherProcess(t *testing.T) {
	m := newMoving(t)
	output, err := program(t, append(m.args, "--out", filepath.Join(m.dir, "whole"))...).CombinedOutput()
	require.NoError(t, err, string(output))
	whole := logOf(t, filepath.Join(m.dir, "whole"))
	require.Len(t, whole, 40+9)

	out, _ := m.midway(t)
	there := filepath.Join(m.dir, "there", "out")
	pack, unpack := program(t, "job", "pack", out, "-"), program(t, "job", "unpack", "-", there)
	pipe, err := pack.StdoutPipe()
	require.NoError(t, err)
	unpack.Stdin = pipe
	require.NoError(t, pack.Start())
	output, err = unpack.CombinedOutput()
	require.NoError(t, err, string(output))
	require.NoError(t, pack.Wait())
	require.Equal(t, succeed(t, "job", "info", out), succeed(t, "job", "info", there))
	require.NoError(t, os.RemoveAll(m.init), "it came along")
	require.NoError(t, os.RemoveAll(out))

	output, err = program(t, append(m.args, "--out", there, "--resume")...).CombinedOutput()
	require.NoError(t, err, string(output))
	require.Equal(t, whole, logOf(t, there))
	assert.Equal(t, tensorsOf(t, filepath.Join(m.dir, "whole"))[0].Data, tensorsOf(t, there)[0].Data)
}

// --detach writes the file at the interrupt.
func TestTrainDetaches(t *testing.T) {
	m := newMoving(t)
	out, said := m.midway(t, "--detach", filepath.Join(m.dir, "TRY.job"))
	file := filepath.Join(m.dir, strings.TrimPrefix(filepath.Base(out), "out")+".job")
	require.Contains(t, said, "written to "+file+": go on elsewhere by loquetier job unpack\n")
	require.Equal(t, succeed(t, "job", "info", out), succeed(t, "job", "info", file))
	again := filepath.Join(m.dir, "again.job")
	require.Empty(t, succeed(t, "job", "pack", out, again))
	require.Equal(t, readFile(t, file), readFile(t, again))

	finished := filepath.Join(m.dir, "finished.job")
	require.Equal(t, exitOK, call(t, append(m.args, "--out", filepath.Join(m.dir, "f"), "--stop-after", "1", "--detach", finished)...).code)
	require.NoFileExists(t, finished, "nobody interrupted")
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

// An interrupted run whose file cannot be written says so; what was saved stays.
func TestTrainTellsWhatItCouldNotDetach(t *testing.T) {
	m := newMoving(t)
	file, out := filepath.Join(m.dir, "x.job"), filepath.Join(m.dir, "out")
	command := program(t, append(m.args, "--out", out, "--detach", file)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	require.NoError(t, command.Start())
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(out, "training_log.jsonl"))
		return err == nil
	}, time.Minute, time.Millisecond)
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	require.NoError(t, command.Process.Signal(os.Interrupt))
	require.ErrorContains(t, command.Wait(), "exit status 1")
	require.Contains(t, stderr.String(), "loquetier: train: --detach: open "+file+": file exists\n")
	require.Equal(t, "mine", readFile(t, file))
	succeed(t, "job", "info", out)
}

func TestJobInfo(t *testing.T) {
	m := newMoving(t)
	out := filepath.Join(m.dir, "out")
	require.Equal(t, exitOK, call(t, append(m.args, "--out", out, "--stop-after", "2")...).code)
	text := succeed(t, "job", "info", out)
	assert.Contains(t, text, "steps       2 of 40\n")
	assert.Contains(t, text, "data        data.jsonl, ")
	assert.Regexp(t, `\nbase        [0-9a-f]{32} with F32 weights, F32 inputs\n`, text)
	assert.Contains(t, text, "settings    --init "+m.init+" --steps 40 --micro-batch 3 --accumulate 4 --lr 0.01 --warmup 3 --stop-after 2 --eval-every 5\n")
	assert.Equal(t, `--out 'a b' --x 'it'\''s'`, quotedFlags([]string{"--out", "a b", "--x", "it's"}))

	file := filepath.Join(m.dir, "x.job")
	require.Empty(t, succeed(t, "job", "pack", out, file))
	assert.Equal(t, succeed(t, "job", "info", out, "--json"), succeed(t, "job", "info", file, "--json"))
	o := callWith(t.Context(), readFile(t, file), nil, "job", "info", "-")
	assert.Equal(t, outcome{code: exitOK, out: text}, o)
}

// One line for each, and nothing is touched.
func TestJobRefuses(t *testing.T) {
	m := newMoving(t)
	out, file := filepath.Join(m.dir, "out"), filepath.Join(m.dir, "x.job")
	require.Equal(t, exitOK, call(t, append(m.args, "--out", out, "--stop-after", "1")...).code)
	require.Empty(t, succeed(t, "job", "pack", out, file))
	whole := readFile(t, file)
	cut, bad := write(t, "cut.job", whole[:len(whole)/2]), write(t, "bad.job", whole[:9000]+string(whole[9000]^1)+whole[9001:])
	none := filepath.Join(m.dir, "none")
	for want, args := range map[string][]string{
		"job info: the job's folder or file is missing: run 'loquetier job info --help'":           {"job", "info"},
		"job pack: the file to write is missing: run 'loquetier job pack --help'":                  {"job", "pack", out},
		`job unpack: unexpected argument "x": run 'loquetier job unpack --help'`:                   {"job", "unpack", file, none, "x"},
		"job info: open " + none + ": no such file or directory":                                   {"job", "info", none},
		"job pack: open " + file + ": file exists":                                                 {"job", "pack", out, file},
		"job pack: pack " + m.init + ": " + m.init + ": there is no checkpoint to resume":          {"job", "pack", m.init, none},
		"job unpack: " + file + ": " + out + " is there already: unpack into a folder that is not": {"job", "unpack", file, out},
		"job unpack: " + cut + ": optimizer.bin: the job file is cut short":                        {"job", "unpack", cut, none},
		"job info: " + cut + ": optimizer.bin: the job file is cut short":                          {"job", "info", cut},
		"job unpack: " + bad + ": adapter_model.safetensors: it is damaged: its hash is":           {"job", "unpack", bad, none},
		"job unpack: standard input: manifest.json: the job file is cut short":                     {"job", "unpack", "-", none},
		"train: --detach " + file + ": the file is there already":                                  append(m.args, "--out", none, "--detach", file),
		"train: --detach " + none + "/x: there is no folder " + none:                               append(m.args, "--out", none, "--detach", none+"/x"),
		"train: --log: open " + m.dir + ": is a directory":                                         append(m.args, "--out", none, "--log", m.dir),
		"train: --detach -: it takes a file":                                                       append(m.args, "--out", none, "--detach", "-"),
		"train: --jobs and --detach exclude each other: every job has its own":                     {"train", "--model", "stories", "--jobs", none, "--detach", "x"},
		"train: resume: " + none + ": there is no checkpoint to resume":                            append(m.args, "--out", none, "--resume"),
	} {
		o := call(t, args...)
		require.NotEqual(t, exitOK, o.code, want)
		require.Contains(t, o.err, "loquetier: "+want)
		require.Equal(t, 1, strings.Count(o.err, "\n"), o.err)
		require.NoDirExists(t, none)
	}
	require.Equal(t, whole, readFile(t, file))
}

// A moved job resumes with its own base and data only.
func TestAMovedJobRefusesAnotherBaseAndOtherData(t *testing.T) {
	r, dir := readTinyTraining(t, "llama", tinyTrainings[0]), t.TempDir()
	args := func(model, data string, more ...string) []string {
		return append(strings.Fields(fmt.Sprintf("train --model %s --dtype f32 --data %s --rank 4 --steps 4 --micro-batch 3", model, data)), more...)
	}
	out, there := filepath.Join(dir, "out"), filepath.Join(dir, "there")
	require.Equal(t, exitOK, call(t, args(r.model, r.data, "--out", out, "--stop-after", "1")...).code)
	var file bytes.Buffer
	require.Equal(t, exitOK, callWith(t.Context(), "", &file, "job", "pack", out, "-").code)
	require.Equal(t, outcome{}, callWith(t.Context(), file.String(), io.Discard, "job", "unpack", "-", there))
	_, rest, _ := strings.Cut(readFile(t, r.data), "\n")
	other := write(t, "data.jsonl", rest)
	for want, args := range map[string][]string{
		"resume: the base model: the checkpoint has ":       args(filepath.Join(tinyModels, "qwen3/model"), r.data),
		"resume: the data: the checkpoint has data.jsonl (": args(r.model, other),
		"resume: --rank: the checkpoint has 4, now it is 8": args(r.model, r.data, "--rank", "8"),
		"F32 inputs, now it is ":                            args(r.model, r.data, "--dtype", "f16"),
	} {
		o := call(t, append(args, "--out", there, "--resume")...)
		require.Equal(t, exitError, o.code)
		require.Contains(t, o.err, want)
		require.Equal(t, 1, strings.Count(o.err, "\n"), o.err)
	}
	require.Equal(t, exitOK, call(t, args(r.model, r.data, "--out", there, "--resume")...).code)
}
