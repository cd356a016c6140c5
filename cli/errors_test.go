package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// badFiles makes a folder with files that are wrong, and makes it the current one.
func badFiles(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for to, from := range map[string]string{
		"foreign": "../testdata/golden/tiny/llama/adapters/all-r16",
		"tiny":    "../testdata/golden/tiny/llama/model",
		"cut":     "../models/stories/base",
		"short":   "../models/stories/upper",
		"bad":     "../models/stories/upper",
	} {
		require.NoError(t, os.CopyFS(filepath.Join(dir, to), os.DirFS(from)))
	}
	t.Chdir(dir)
	require.NoError(t, os.Truncate("cut/model.safetensors", 100_000))
	require.NoError(t, os.Truncate("short/adapter_model.safetensors", 1000))
	require.NoError(t, os.WriteFile("bad/adapter_config.json", []byte("{"), 0o600))
	require.NoError(t, os.Mkdir("empty", 0o700))
	require.NoError(t, os.WriteFile("file.jsonl", []byte("{\"else\":1}\n"), 0o600))
	require.NoError(t, os.WriteFile("short.txt", []byte("one day"), 0o600))
}

func TestErrorsAreOneLine(t *testing.T) {
	badFiles(t)
	const ask = "generate --model stories --prompt x "
	for _, c := range []struct {
		args string
		code int
		line string
	}{
		{"", 2, "a command is missing: run 'loquetier --help'"},
		{"frob", 2, `unknown command "frob": run 'loquetier --help'`},
		{"--frob", 2, "unknown flag --frob: run 'loquetier --help'"},
		{"adapter frob", 2, `unknown command "frob": run 'loquetier adapter --help'`},
		{"adapter info", 2, "adapter info: the adapter's folder is missing: run 'loquetier adapter info --help'"},
		{"completion csh", 2, `completion: shell "csh": known are bash, zsh, fish`},
		{"generate --prompt x", 2, "generate: --model is missing: run 'loquetier generate --help'"},
		{"generate --model stories", 2, "generate: --prompt or --requests is missing: run 'loquetier generate --help'"},
		{"eval --model stories", 2, "eval: --data is missing: run 'loquetier eval --help'"},
		{"eval --model stories --data short.txt", 2, "eval: --block is missing: a text is cut into blocks of that many tokens"},
		{ask + "--frob", 2, "generate: unknown flag --frob: run 'loquetier generate --help'"},
		{ask + "more", 2, `generate: unexpected argument "more": run 'loquetier generate --help'`},
		{ask + "--requests y", 2, "generate: --prompt and --requests exclude each other"},
		{ask + "--logprobs 2", 2, "generate: --logprobs and --prompt-logprobs need --json"},
		{ask + "--logprobs 21 --json", 2, "generate: --logprobs 21: it takes 0 to 20"},
		{ask + "--max-tokens x", 2, `generate: invalid value "x" for flag -max-tokens: parse error: run 'loquetier generate --help'`},
		{ask + "--max-tokens -1", 2, "generate: --max-tokens -1: it takes 0 or more"},
		{ask + "--temperature NaN", 2, "generate: temperature NaN: it takes 0 to 100"},
		{ask + "--temperature -0.1", 2, "generate: temperature -0.1: it takes 0 to 100"},
		{ask + "--temperature 1e300", 2, "generate: temperature +Inf: it takes 0 to 100"},
		{ask + "--top-p 1.5", 2, "generate: top_p 1.5: it takes above 0, at most 1"},
		{ask + "--top-k -1", 2, "generate: top_k -1: it takes 0 or more"},
		{ask + "--dtype f64", 2, `generate: --dtype "f64": known are auto, f32, f16, bf16`},
		{ask + "--probe sometimes", 2, `generate: --probe "sometimes": known are auto, off, again`},
		{ask + "--log-level loud", 2, `generate: --log-level "loud": known are debug, info, warn, error`},
		{ask + "--slots 0", 2, "generate: --slots 0: it takes 1 to 4096"},
		{ask + "--adapter =x", 2, `generate: --adapter "=x": it takes NAME=DIR`},
		{ask + "--adapter base=x", 2, `generate: --adapter "base=x": the name base stands for no adapter: choose another`},
		{"generate --model stories --prompt=", 1, "generate: the prompt is empty"},
		{"generate --model nowhere --prompt x", 1, "generate: model nowhere: no such folder: give a folder on disk, or stories"},
		{"generate --model empty --prompt x", 1, "generate: load model empty: read: stat empty/config.json: no such file or directory: a model folder has config.json and .safetensors files"},
		{"generate --model cut --prompt x", 1, `generate: load model cut: cut/model.safetensors: tensor "model.embed_tokens.weight" has data_offsets [0 786432], the file has 93984 bytes after the header`},
		{"generate --model tiny --prompt x", 1, "generate: the model has no tokenizer.json: give the prompt as token ids"},
		{"generate --model stories --requests gone.jsonl", 1, "generate: open gone.jsonl: no such file or directory"},
		{"generate --model stories --requests empty", 1, "generate: read empty: a folder, not a file"},
		{ask + "--use nope", 1, `generate: unknown adapter "nope": none is attached: add --adapter NAME=DIR, or use stories/math, stories/shakespeare, stories/upper`},
		{ask + "--use nope --adapter a=stories/upper", 1, `generate: unknown adapter "nope": known are a: add --adapter NAME=DIR, or use stories/math, stories/shakespeare, stories/upper`},
		{ask + "--adapter a=gone", 1, "generate: attach adapter a: adapter gone: no such folder: give a folder on disk, or stories/math, stories/shakespeare, stories/upper"},
		{ask + "--adapter a=foreign", 1, `generate: attach adapter a: adapter of another base: foreign/adapter_model.safetensors: tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" has shape [16 64], its module in the base has [16 192]`},
		{ask + "--adapter a=short", 1, "generate: attach adapter a: short/adapter_model.safetensors: the header's length is 6024 bytes, the file has 992 after it: the file is cut short"},
		{ask + "--adapter a=bad", 1, "generate: attach adapter a: bad/adapter_config.json: not a JSON object: unexpected end of JSON input"},
		{ask + "--adapter a=stories/upper --adapter x/a", 2, `generate: --adapter "x/a": the name a is taken by another: choose a name by NAME=DIR`},
		{"bench decode --model stories --adapters 2 --slots 1", 1, "bench decode: load adapter stories/shakespeare: no free slot: of 1 slots requests use 1 and training 0"},
		{ask + "--context 5000", 1, "generate: --context 5000: model stories was made for at most 1024 tokens"},
		{ask + "--cache-tokens 16 --max-tokens 100", 1, "generate: the prompt's 2 tokens and 100 to generate need 7 cache blocks, but there are 1"},
		{"generate --model stories --prompt Once.upon.a.time --context 3", 1, "generate: the prompt has 12 tokens, but the context is 3"},
		{ask + "--logit-bias {\"5000\":1}", 1, "generate: logit_bias: token id 5000 is outside the vocabulary of 2048"},
		{"chat --model tiny", 1, "chat: the model has no chat template: use generate, or add chat_template.jinja to its folder"},
		{"eval --model stories --data x.csv", 1, "eval: x.csv: the data is a .txt or a .jsonl file"},
		{"eval --model stories --data gone.jsonl", 1, "eval: open gone.jsonl: no such file or directory"},
		{"eval --model stories --data file.jsonl", 1, `eval: file.jsonl: line 1: one of "text", "prompt" with "completion", "messages" or "ids" is needed`},
		{"eval --model stories --data short.txt --block 50", 1, "eval: short.txt has 2 tokens, not one block of 50: choose a smaller --block"},
		{"bench decode --model stories --adapters 4", 1, "bench decode: --adapters 4: only 3 are given: add --adapter NAME=DIR"},
		{"adapter info foreign --model stories", 1, `adapter info: adapter of another base: foreign/adapter_model.safetensors: tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" has shape [16 64], its module in the base has [16 192]`},
	} {
		assert.Equal(t, outcome{code: c.code, err: "loquetier: " + c.line + "\n"}, call(t, strings.Fields(c.args)...), c.args)
	}
}

func TestAnUnknownDeviceIsNamedWithThoseThereAre(t *testing.T) {
	o := call(t, "generate", "--model", "stories", "--prompt", "x", "--device", "no such device")
	assert.Equal(t, exitError, o.code)
	assert.Regexp(t, `^loquetier: generate: device "no such device": not among \[0: .+\]\n$`, o.err)
}
