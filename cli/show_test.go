package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/train"
)

func TestDevices(t *testing.T) {
	list := decode[[]deviceInfo](t, succeed(t, "devices", "--json"))[0]
	require.NotEmpty(t, list)
	table := succeed(t, "devices")
	for i, d := range list {
		assert.Equal(t, i, d.Index)
		assert.NotEmpty(t, d.Name)
		assert.True(t, d.Family != "" != (d.Unusable != ""), "a family, or why there is none")
		assert.Contains(t, table, d.Name)
	}
}

func TestADeviceThatCannotBeUsedSaysWhy(t *testing.T) {
	d := describeDevice(vk.Info{Name: "old", APIVersion: 1<<22 | 1<<12})
	assert.Equal(t, []string{"", "device old: Vulkan 1.1.0, but 1.2 is needed"}, []string{d.Family, d.Unusable})
	var out strings.Builder
	require.NoError(t, writeDevices(&out, []deviceInfo{d}))
	assert.Contains(t, out.String(), "cannot be used: device old")
}

func TestAdapterInfo(t *testing.T) {
	out := succeed(t, "adapter", "info", "stories/math", "--json")
	var a adapterSummary
	require.NoError(t, json.Unmarshal([]byte(out), &a))
	assert.Equal(t, adapterSummary{
		Name: "math", Base: "stories", Ranks: []int{16}, Alphas: []float64{32}, Scales: []float64{8},
		Targets: []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
		Layers:  6, Modules: 42, Parameters: 325632, Bytes: 1302528, RSLoRA: true,
	}, a)
	plain := succeed(t, "adapter", "info", "--model", "stories", "../models/stories/upper")
	assert.Contains(t, plain, "modules     q_proj, v_proj, up_proj, down_proj in 6 layers, 24 in all\n")
	assert.Contains(t, plain, "fits        stories\n")
}

// Without its base, an adapter of any kind is described as with it.
func TestAdapterInfoNeedsNoBase(t *testing.T) {
	const tiny = "../testdata/golden/tiny/qwen3"
	for _, name := range []string{"all-r16", "dora-r8", "mlp-r4-rslora", "odd-r5", "pattern", "qv-r8"} {
		dir := tiny + "/adapters/" + name
		with := decode[adapterSummary](t, succeed(t, "adapter", "info", "--json", "--model", tiny+"/model", dir))[0]
		with.Fits = ""
		assert.Equal(t, with, decode[adapterSummary](t, succeed(t, "adapter", "info", "--json", dir))[0])
	}
}

func TestDemoServesAndTrainsInTheSameSteps(t *testing.T) {
	start := time.Now()
	out := succeed(t, "demo", "--steps", "2")
	assert.Less(t, time.Since(start), 60*time.Second)
	for _, name := range []string{"base", "stories/math", "stories/shakespeare", "stories/upper", "pirate"} {
		assert.Regexp(t, "(?m)^"+name+" +\\| \\S", out)
	}
	assert.Regexp(t, `(?m)^pirate +\| \(in training\) step 2 of 2, loss \d`, out)
	m := regexp.MustCompile(`\n5 streams and one job, in the same steps: (\d+) tokens served, (\d+) trained in \S+ s\. (\d+) steps, (\d+) of them shared by several adapters, up to 5 in one`).FindStringSubmatch(out)
	require.NotNil(t, m, out)
	assert.Equal(t, "160", m[4], "the four streams and the job share their steps")
	assert.Equal(t, steady(out), steady(succeed(t, "demo", "--steps", "2")), "the seeds are fixed")
}

// steady is the demo's output without times, its lines by stream.
func steady(out string) map[string]string {
	texts := map[string]string{}
	for line := range strings.Lines(out) {
		if name, text, ok := strings.Cut(line, "|"); ok {
			texts[name] += text
		}
	}
	return texts
}

func TestDemoScreen(t *testing.T) {
	names := []string{"base", "one", "two", "three"}
	m := &demoScreen{names: names, texts: make([]string, 4), summary: func() demoSummary { return demoSummary{device: "some device"} }}
	for i := range names {
		m.Update(demoUpdate{stream: i, text: fmt.Sprintf("text %d", i)})
	}
	m.Update(demoTick{})
	lines := func(width, height int) []string {
		m.Update(tea.WindowSizeMsg{Width: width, Height: height})
		content := m.View().Content
		assert.LessOrEqual(t, strings.Count(content, "\n"), height)
		return strings.Split(regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(content, ""), "\n")
	}
	assert.Regexp(t, "^text 0 +text 1 +text 2 +text 3", lines(120, 24)[2], "side by side")
	assert.Regexp(t, "^text 0 *$", lines(60, 24)[2], "one below the other")
	for step := range 9 {
		m.Update(demoUpdate{stream: 3, train: &train.Event{Kind: train.StepDone, Step: step, Steps: 9, Record: train.StepRecord{Loss: train.Number(9 - step)}}})
	}
	screen := strings.Join(lines(120, 40), "\n")
	assert.Contains(t, screen, "in training: step 9 of 9")
	assert.Contains(t, screen, "██", "the loss curve")
	m.Update(demoUpdate{stream: 0, text: strings.Repeat(" more and more", 500) + " last"})
	assert.Contains(t, strings.Join(lines(120, 20), "\n"), "last", "the end is in view")
	assert.Contains(t, m.View().Content, "some device")

	_, quit := m.Update(demoEnded{})
	require.NotNil(t, quit)
	assert.IsType(t, tea.QuitMsg{}, quit())
	m.Update(demoUpdate{stream: 1, reply: &reply{Finish: "error", Error: "lost"}})
	assert.EqualError(t, m.err, "lost")
}

// shareColumns match what moved and was computed, beside the device's limits.
const shareColumns = `\d+\.\d GB/s\t\d+\.\d %copy\t\d+\.\d{3} TFLOP/s\t\d+\.\d %matrix`

func TestBenchPrintsGosFormat(t *testing.T) {
	for args, name := range map[string]string{
		"decode --model stories --batch 4 --prompt 8 --tokens 3 --count 2 --adapters 3":          `BenchmarkDecode/model=stories/batch=4/adapters=3/prompt=8-\d+\t6`,
		"decode --shape stories --batch 3 --prompt 8 --tokens 3 --count 1 --adapters 2 --rank 4": `BenchmarkDecode/shape=stories/batch=3/adapters=2/prompt=8-\d+\t3`,
		"prefill --model stories --rows 32 --batch 2 --count 2":                                  `BenchmarkPrefill/model=stories/batch=2/adapters=0/rows=32-\d+\t2`,
	} {
		out := succeed(t, append([]string{"bench"}, strings.Fields(args)...)...)
		assert.Regexp(t, `(?m)^cpu: .+\n(.+\n)*`+name+`\t\d+ ns/op\t\d+\.\d tok/s\t\d+ dispatches/op\t\d+\.\d record-us/op\t\d+\.\d MiB\t`+shareColumns+`\n$`, out)
	}
}

func TestBenchRefusesWhatMeansNothingOrDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		line string
	}{
		{"decode", 2, "decode: --model is missing: run 'loquetier bench decode --help'"},
		{"decode --shape 7b", 2, `decode: --shape "7b": known are 8b, 1b, qwen3-1.7b, stories`},
		{"products --dtype f64", 2, `products: --dtype "f64": known are auto, f32, f16, bf16`},
		{"swap --model stories --slots 4", 2, "swap: --slots: bench swap makes as many as it measures: see --adapters"},
		{"products now", 2, "products: unexpected argument \"now\": run 'loquetier bench products --help'"},
		{"train --shape 8b --model stories", 2, "train: --model and --shape exclude each other"},
		{"decode --shape stories --adapters -1", 2, "decode: --adapters -1: it takes 0 to 4096"},
		{"decode --shape stories --rank 6", 2, "decode: --rank 6: it takes a multiple of 4, at most 512"},
		{"decode --model stories --layers 1", 2, "decode: --layers is for --shape"},
		{"decode --shape stories --layers 7", 2, "decode: --layers 7: shape stories has 6"},
		{"kernels", 2, "kernels: --model is missing: run 'loquetier bench kernels --help'"},
		{"kernels --model stories", 2, "kernels: --shape is missing: run 'loquetier bench kernels --help'"},
		{"kernels --shape stories --rows 1,x", 2, `kernels: --rows "1,x": it takes numbers from 1 to 65535 with commas between them`},
		{"kernels --shape stories --contexts=", 2, `kernels: --contexts "": it takes numbers from 1 to 1048576 with commas between them`},
		{"kernels --shape stories --train 1", 2, "kernels: --train 1: it takes 0, or 2 to 65535"},
		{"kernels --shape stories --train 2000", 1, "kernels: sequences of 2048 tokens, but the context is 1024"},
		{"prefill --shape stories --count 0", 2, "prefill: --count 0: it takes 1 to 1048576"},
		{"prefill --shape stories --rows 33 --batch 2", 2, "prefill: --rows 33: it takes a multiple of --batch 2"},
		{"decode --shape stories --prompt 2000", 1, "decode: sequences of 2064 tokens, but the context is 1024"},
		{"decode --shape stories --adapters 3 --slots 2", 1, "decode: load adapter random-3: no free slot: of 2 slots requests use 2 and training 0"},
	} {
		o := call(t, append([]string{"bench"}, strings.Fields(c.args)...)...)
		assert.Equal(t, outcome{code: c.code, err: "loquetier: bench " + c.line + "\n"}, o, c.args)
	}
	o := call(t, strings.Fields("bench decode --shape 8b --cache-tokens 1000000000")...)
	assert.Equal(t, exitUsage, o.code)
	o = call(t, strings.Fields("bench decode --shape 8b --cache-tokens 200000000")...)
	assert.Equal(t, exitError, o.code)
	assert.Regexp(t, `^loquetier: bench decode: load model 8b: .*the model needs \d+ MiB \(weights 15\d{3} MiB, .+\n$`, o.err)
}

// The shape of that name is the embedded model's.
func TestTheShapeOfStories(t *testing.T) {
	folder, err := openModel(stories)
	require.NoError(t, err)
	config, err := weights.ReadConfig(folder)
	require.NoError(t, err)
	shape, ok := weights.Shape(stories)
	require.True(t, ok)
	config.BOS, config.EOS, config.LayerWindow, config.DType = nil, nil, nil, 0
	assert.Equal(t, config, shape)
}

func TestBenchTrainPrintsGosFormatAndTheMemory(t *testing.T) {
	const small = "bench train --model stories --jobs 2 --sequences 2 --length 20 --rank 4 --count 3 --targets q_proj,down_proj --recompute "
	memory := map[string]float64{}
	for _, recompute := range []string{"on", "off"} {
		out := succeed(t, strings.Fields(small+recompute)...)
		m := regexp.MustCompile(`(?m)^cpu: .+\n(?:.+\n)*BenchmarkTrain/model=stories/jobs=2/sequences=2/micro=2/slices=all/length=20/rank=4/targets=q_proj,down_proj/recompute=` +
			recompute + `-\d+\t3\t(\d+) ns/op\t(\d+\.\d) tok/s\t\d+ dispatches/op\t\d+\.\d record-us/op\t(\d+\.\d) MiB\t` + shareColumns + `\n$`).FindStringSubmatch(out)
		require.NotNil(t, m, out)
		number := func(i int) float64 {
			n, err := strconv.ParseFloat(m[i], 64)
			require.NoError(t, err)
			return n
		}
		assert.InEpsilon(t, 2*2*20/(number(1)/1e9), number(2), 0.01, "tokens of a step by its time")
		memory[recompute] = number(3)
	}
	assert.Less(t, memory["on"], memory["off"], "recomputing saves memory")
}

// A step of the optimizer is cut into steps of the engine that need less memory,
// and these into slices that compute the same.
func TestBenchTrainAccumulates(t *testing.T) {
	memory, dispatches := map[string]float64{}, map[string]float64{}
	for _, cut := range []string{"1 --slices 2", "1", "2"} {
		micro := cut[:1]
		out := succeed(t, strings.Fields("bench train --shape stories --sequences 2 --length 40 --rank 4 --count 1 --micro "+cut)...)
		m := regexp.MustCompile(`sequences=2/micro=` + micro + `/.+\t1\t(\d+) ns/op\t(\d+\.\d) tok/s\t(\d+) dispatches/op\t.+\t(\d+\.\d) MiB`).FindStringSubmatch(out)
		require.NotNil(t, m, out)
		number := func(i int) float64 {
			n, err := strconv.ParseFloat(m[i], 64)
			require.NoError(t, err)
			return n
		}
		assert.InEpsilon(t, 2*40/(number(1)/1e9), number(2), 0.01, "an optimizer step's tokens are counted whole")
		dispatches[cut], memory[cut] = number(3), number(4)
	}
	assert.Less(t, memory["1"], memory["2"])
	assert.Equal(t, dispatches["1"], dispatches["1 --slices 2"])
}

func TestBenchKernels(t *testing.T) {
	out := succeed(t, strings.Fields("bench kernels --shape stories --layers 2 --rows 3,66 --contexts 20 --train 20 --rank 4 --count 1")...)
	assert.Regexp(t, `(?m)^BenchmarkRate/copy-\d+\t1\t\d+\.\d GB/s$`, out)
	assert.Regexp(t, `(?m)^BenchmarkRate/matrix-\d+\t1\t\d+\.\d{3} TFLOP/s$`, out)
	assert.Regexp(t, `(?m)^BenchmarkRate/dispatch-\d+\t1\t\d+ ns/op$`, out)
	for _, step := range []string{"decode/context=20/adapters=0/rows=3", "decode/context=20/adapters=3/rows=3", "prefill/adapters=0/rows=66", "prefill/adapters=1/rows=66", "train/rows=20"} {
		for _, product := range []string{"qkv", "o", "gate_up", "down", "head"} {
			assert.Regexp(t, `(?m)^BenchmarkKernel/shape=stories/step=`+step+`/kernel=linear.*/product=`+product+`-\d+\t\d+\t\d+ ns/op\t`+shareColumns+`$`, out)
		}
	}
	for _, line := range []string{
		"step=decode/context=20/adapters=3/rows=3/kernel=shrink.*/product=down-", "step=train/rows=20/kernel=linear_grad.*/product=gate_up-",
		"step=train/rows=20/kernel=lora_grad.*/product=qkv-", "step=train/rows=20/kernel=shrink_grad.*/product=o\\+down-",
		"step=train/rows=20/kernel=cross_entropy-", "step=decode/context=20/adapters=0/rows=3/kernel=attention_decode",
	} {
		assert.Regexp(t, "(?m)^BenchmarkKernel/shape=stories/"+line, out)
	}
}

func TestBenchTrainProfiles(t *testing.T) {
	o := call(t, strings.Fields("bench train --model stories --sequences 1 --length 2 --count 1 --profile")...)
	require.Equal(t, exitOK, o.code, o.err)
	assert.Contains(t, o.out, "/jobs=1/sequences=1/micro=1/slices=all/length=2/rank=8/targets=all/recompute=auto-")
	assert.Regexp(t, `(?m)^ kernel +calls `, o.err)
	for _, kernel := range []string{"cross_entropy", "lora_grad", "optimizer"} {
		assert.Contains(t, o.err, kernel)
	}
}

func TestBenchTrainRefusesWhatMeansNothingOrDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		line string
	}{
		{"--jobs 0", 2, "--jobs 0: it takes 1 to 1024"},
		{"--sequences -1", 2, "--sequences -1: it takes 1 to 1048576"},
		{"--length 1", 2, "--length 1: it takes 2 to 1048576"},
		{"--micro 5", 2, "--micro 5: it takes 1 to 4"},
		{"--slices 0", 2, "--slices 0: it takes 1 to 1073741824"},
		{"--rank 0", 2, "--rank 0: it takes 1 to 512"},
		{"--rank 513", 2, "--rank 513: it takes 1 to 512"},
		{"--count 0", 2, "--count 0: it takes 1 to 1048576"},
		{"--targets lm_head", 2, `--targets: unknown target module "lm_head": known are all, or a list of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj`},
		{"--recompute often", 2, `--recompute "often": known are auto, on, off`},
		{"more", 2, `unexpected argument "more": run 'loquetier bench train --help'`},
		{"--jobs 1024 --sequences 1048576 --length 1048576", 2, "--jobs 1024, --sequences 1048576 and --length 1048576 make a step of 1125899906842624 tokens: it takes at most 268435456"},
		{"--length 1025", 1, "--length 1025: the context is 1024"},
		{"--context 100", 1, "--length 128: the context is 100"},
		{"--context 5000", 1, "--context 5000: model stories was made for at most 1024 tokens"},
		{"--cache-tokens 496", 1, "4 sequences of 128 tokens do not fit 496 tokens of cache"},
		{"--jobs 3 --slots 3 --adapter stories/upper", 1, "--jobs 3: there are 3 slots, 1 of them for --adapter"},
	} {
		o := call(t, append(strings.Fields("bench train --model stories"), strings.Fields(c.args)...)...)
		assert.Equal(t, outcome{code: c.code, err: "loquetier: bench train: " + c.line + "\n"}, o, c.args)
	}
	o := call(t, strings.Fields("bench train --model stories --jobs 512 --sequences 512 --length 1024")...)
	assert.Equal(t, exitError, o.code)
	assert.Regexp(t, `^loquetier: bench train: load model stories: .*the model needs \d+ MiB .*, training \d+ MiB\), but .+\n$`, o.err)
}

func TestProgressShowsWhatTakesLong(t *testing.T) {
	var out bytes.Buffer
	none := newProgress(&out, "loading")
	require.Nil(t, none, "not a terminal")
	none.count(1, 2)
	none.finish()

	quick := &progress{to: &out, start: time.Now()}
	quick.count(1, 2)
	quick.finish()
	assert.Empty(t, out.String())

	slow := &progress{to: &out, start: time.Now().Add(-patience)}
	slow.count(1, 2)
	require.NotNil(t, slow.bar)
	assert.EqualValues(t, 1, slow.bar.Current())
	bar := slow.bar
	slow.finish()
	assert.True(t, bar.Aborted())
}
