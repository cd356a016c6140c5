package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const evalText = "The rabbit put its lunch in a red box. A bird came by and asked for some of it. " +
	"They sat down under the old tree, ate the bread, and told each other about the sea. In the evening both went home, tired and happy."

// evaluated runs eval with --json.
func evaluated(t *testing.T, args ...string) evaluation {
	t.Helper()
	all := decode[evaluation](t, succeed(t, append([]string{"eval", "--model", "stories", "--dtype", "f32", "--json"}, args...)...))
	require.Len(t, all, 1)
	return all[0]
}

// scores are the prompt log-probabilities of prompts (JSON), from generate.
func scores(t *testing.T, adapter string, prompts ...string) []got {
	t.Helper()
	var file strings.Builder
	for _, p := range prompts {
		fmt.Fprintf(&file, "{\"prompt\":%s,\"adapter\":%q,\"max_tokens\":0,\"prompt_logprobs\":0}\n", p, adapter)
	}
	return decode[got](t, succeed(t, "generate", "--model", "stories", "--dtype", "f32", "--requests", write(t, "r.jsonl", file.String())))
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}

// expect compares an evaluation with the mean over targets of scored prompts:
// of prompt i those from position from[i] on.
func expect(t *testing.T, scored []got, from []int, e evaluation) {
	t.Helper()
	sum, n := 0.0, 0
	for i, r := range scored {
		for _, s := range r.PromptLogProbs[max(1, from[i]):] {
			sum -= s.LogProb
			n++
		}
	}
	assert.Equal(t, n, e.Targets)
	assert.InEpsilon(t, sum/float64(n), e.Loss, 1e-4)
	assert.InEpsilon(t, math.Exp(e.Loss), e.Perplexity, 1e-9)
}

func TestEvalOfATextIsTheMeanOverItsBlocks(t *testing.T) {
	name := write(t, "data.txt", evalText)
	whole := scores(t, "base", asJSON(t, evalText))[0].PromptIDs[1:] // without begin-of-text
	const block = 16
	require.Greater(t, len(whole)%block, 0, "some tokens are dropped")
	var prompts []string
	for rest := whole; len(rest) >= block; rest = rest[block:] {
		prompts = append(prompts, asJSON(t, rest[:block]))
	}
	zeros := make([]int, len(prompts))
	expect(t, scores(t, "base", prompts...), zeros, evaluated(t, "--data", name, "--block", "16"))
	expect(t, scores(t, "stories/upper", prompts[:2]...), zeros, evaluated(t, "--data", name, "--block", "16", "--max-blocks", "2", "--use", "stories/upper"))
}

func TestEvalOfLines(t *testing.T) {
	const turns = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
	const reply = "A small model.<|im_end|>\n"
	prompts := scores(t, "base", `"Lily saw"`, asJSON(t, turns))
	scored := scores(t, "base", `"Lily saw a dog."`, `"Lily saw a dog."`, asJSON(t, turns+reply), "[5,6,7,8]", "[5,6,7,8]")
	lines := []string{
		`{"text":"Lily saw a dog.","source":"ours"}`,
		`{"prompt":"Lily saw","completion":" a dog."}`,
		`{"messages":[{"role":"user","content":"Who are you?"},{"role":"assistant","content":"A small model."}]}`,
		`{"ids":[5,6,7,8]}`,
		`{"ids":[5,6,7,8],"prompt_tokens":3}`,
	}
	from := []int{0, len(prompts[0].PromptIDs), len(prompts[1].PromptIDs), 0, 3}
	for i, line := range lines {
		expect(t, scored[i:i+1], from[i:i+1], evaluated(t, "--data", write(t, "data.jsonl", line)))
	}
	expect(t, scored, from, evaluated(t, "--data", write(t, "data.jsonl", strings.Join(lines, "\n"))))
}

func TestEvalCountsEveryTurnOfTheAssistant(t *testing.T) {
	message := func(role, content string) string { return fmt.Sprintf(`{"role":%q,"content":%q}`, role, content) }
	one := message("user", "Hi") + "," + message("assistant", "Yes, I am here.")
	two := one + "," + message("user", "Why?") + "," + message("assistant", "No.")
	data := func(messages string) string {
		return write(t, "data.jsonl", `{"messages":[`+messages+`]}`)
	}
	short, long := evaluated(t, "--data", data(one)), evaluated(t, "--data", data(two))
	tail := scores(t, "base", `"No.<|im_end|>\n"`)[0].PromptIDs
	assert.Equal(t, short.Targets+len(tail)-1, long.Targets)
	assert.Equal(t, short, evaluated(t, "--data", data(one+","+message("user", "Why?"))), "what follows changes nothing")
}

func TestEvalRefusesBadLines(t *testing.T) {
	for line, want := range map[string]string{
		`{"ids":[1,9999]}`:                  "line 1: token id 9999 is outside the vocabulary of 2048",
		`{"ids":[1,2],"prompt_tokens":3}`:   "line 1: prompt_tokens 3: it takes 0 to the 2 ids there are",
		`{"messages":[{"role":"user"}]}`:    "line 1: messages: no turn of the assistant",
		`{"ids":[1]}`:                       "no targets: every sequence needs a token after its first one or its prompt",
		`{"text":7}`:                        `line 1: field "text": number does not fit: it takes a string`,
		`{"text":"Hello."}` + "\n" + `nope`: "line 2: bad JSON: invalid character 'o' in literal null (expecting 'u')",
	} {
		name := write(t, "data.jsonl", line)
		o := call(t, "eval", "--model", "stories", "--data", name)
		assert.Equal(t, outcome{code: exitError, err: "loquetier: eval: " + name + ": " + want + "\n"}, o)
	}
}

func TestEvalPrintsALine(t *testing.T) {
	out := succeed(t, "eval", "--model", "stories", "--data", write(t, "data.jsonl", `{"ids":[5,6,7,8]}`))
	assert.Regexp(t, `^loss \d+\.\d{6}, perplexity \d+\.\d{4}, 3 targets\n$`, out)
}

// The reference losses of testdata/eval: a second, float64 reading of the model.
func TestEvalAgreesWithTheReference(t *testing.T) {
	data, err := os.ReadFile("../testdata/eval/expected.json")
	require.NoError(t, err)
	var want map[string]struct {
		Loss    float64
		Targets int
	}
	require.NoError(t, json.Unmarshal(data, &want))
	require.Len(t, want, 4)
	for name, w := range want {
		args := []string{"--data", "../testdata/eval/text.jsonl"}
		if name != "base" {
			args = append(args, "--use", "stories/"+name)
		}
		e := evaluated(t, args...)
		assert.Equal(t, w.Targets, e.Targets, name)
		assert.InEpsilon(t, w.Loss, e.Loss, 1e-5, name)
	}
}
