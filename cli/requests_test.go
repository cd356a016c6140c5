package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sample is a reference continuation.
type sample struct {
	Adapter   string  `json:"-"`
	Prompt    string  `json:"prompt"`
	PromptIDs []int32 `json:"prompt_ids"`
	Tokens    []int32 `json:"tokens"`
	Text      string  `json:"text"`
	MinGap    float64 `json:"min_gap"`
}

// clear is the least distance of the two most likely tokens' logits at which
// float32 must choose as the reference did.
const clear = 1e-3

// references are the greedy continuations of the stories model.
func references(t *testing.T) []sample {
	t.Helper()
	data, err := os.ReadFile("../testdata/golden/stories/reference.json")
	require.NoError(t, err)
	var file struct {
		Base               []sample
		Upper, Shakespeare struct{ Samples []sample }
	}
	require.NoError(t, json.Unmarshal(data, &file))
	all := file.Base
	for adapter, samples := range map[string][]sample{"upper": file.Upper.Samples, "bard": file.Shakespeare.Samples} {
		for _, s := range samples {
			s.Adapter = adapter
			all = append(all, s)
		}
	}
	require.Len(t, all, 16)
	return all
}

func TestRequestsAgreeWithTheReference(t *testing.T) {
	all := references(t)
	var file strings.Builder
	for i, s := range all {
		line := map[string]any{"id": i, "max_tokens": len(s.Tokens), "prompt": s.Prompt, "temperature": 0, "ignore_eos": true}
		if s.Adapter != "" {
			line["adapter"] = s.Adapter
		}
		if i%2 == 1 {
			line["prompt"] = s.PromptIDs
		}
		data, err := json.Marshal(line)
		require.NoError(t, err)
		fmt.Fprintf(&file, "%s\n", data)
	}
	out := succeed(t, "generate", "--model", "stories", "--dtype", "f32", "--adapter", "upper=stories/upper",
		"--adapter", "bard=../models/stories/shakespeare", "--requests", write(t, "r.jsonl", file.String()))
	replies := decode[got](t, out)
	require.Len(t, replies, len(all))
	compared := 0
	for i, s := range all {
		r := replies[i]
		assert.EqualValues(t, i, r.ID)
		assert.Equal(t, s.PromptIDs, r.PromptIDs)
		assert.Equal(t, "length", r.Finish)
		if s.MinGap > clear {
			compared++
			assert.Equal(t, s.Tokens, r.Tokens, "%s %q", s.Adapter, s.Prompt)
			assert.Equal(t, s.Text, r.Text)
		}
	}
	assert.Greater(t, compared, len(all)/2)
}

// With fewer slots than adapters the requests of a file take turns.
func TestRequestsTakeTurnsInTheSlots(t *testing.T) {
	var file strings.Builder
	for i := range 9 {
		fmt.Fprintf(&file, `{"id":%d,"prompt":"Once upon","adapter":%q}`+"\n", i, "stories/"+[]string{"upper", "math", "shakespeare"}[i%3])
	}
	args := []string{"generate", "--model", "stories", "--max-tokens", "8", "--requests", write(t, "r.jsonl", file.String())}
	want := decode[got](t, succeed(t, args...))
	require.Len(t, want, 9)
	require.NotEqual(t, want[0].Tokens, want[2].Tokens)
	for _, slots := range []string{"1", "2"} {
		assert.Equal(t, want, decode[got](t, succeed(t, append(args, "--slots", slots)...)), "%s slots", slots)
	}
}

func TestAModelWithoutTokenizerTakesIDs(t *testing.T) {
	const tiny = "../testdata/golden/tiny/llama"
	data, err := os.ReadFile(tiny + "/expected.json")
	require.NoError(t, err)
	type answers struct{ Greedy []sample }
	var expected struct {
		Prompts  [][]int32
		Base     answers
		Adapters map[string]answers
	}
	require.NoError(t, json.Unmarshal(data, &expected))
	expected.Adapters["base"] = expected.Base
	args := []string{"generate", "--model", tiny + "/model", "--max-tokens", "16", "--ignore-eos", "--dtype", "f32"}
	var file strings.Builder
	var want []sample
	for name, a := range expected.Adapters {
		adapter := "null"
		if name != "base" {
			args = append(args, "--adapter", name+"="+filepath.Join(tiny, "adapters", name))
			adapter = fmt.Sprintf("%q", name)
		}
		for i, prompt := range expected.Prompts {
			ids, err := json.Marshal(prompt)
			require.NoError(t, err)
			fmt.Fprintf(&file, "{\"adapter\":%s,\"prompt\":%s}\n", adapter, ids)
			want = append(want, a.Greedy[i])
		}
	}
	replies := decode[got](t, succeed(t, append(args, "--requests", write(t, "r.jsonl", file.String()))...))
	require.Len(t, replies, len(want))
	compared := 0
	for i, r := range replies {
		assert.Empty(t, r.Text)
		if want[i].MinGap > clear {
			compared++
			assert.Equal(t, want[i].Tokens, r.Tokens)
		}
	}
	assert.Greater(t, compared, len(want)/2)
}

func TestABadRequestFailsAloneInItsPlace(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat("5,", 1025), ",")
	cases := []struct{ line, id, reason string }{
		{`{"id":"a","prompt":"Once","max_tokens":2}`, `"a"`, ""},
		{`{"id":1,"adapter":"nope","prompt":"x"}`, `1`, `unknown adapter "nope": known are up: add --adapter NAME=DIR, or use stories/math, stories/shakespeare, stories/upper`},
		{`{"id":2,"prompt":"x","temprature":1}`, `2`, `unknown field "temprature"`},
		{`{"id":3,"prompt":"x"`, `3`, "bad JSON: the line ends within an object"},
		{`hello`, `null`, "bad JSON: invalid character 'h' looking for beginning of value"},
		{`[1]`, `null`, "a JSON object is needed, but the line is of type array"},
		{`{"id":4,"prompt":"x"} {}`, `4`, "more than one JSON value"},
		{`{"id":5,"prompt":[1,2048]}`, `5`, "token id 2048 is outside the vocabulary of 2048"},
		{`{"id":6,"prompt":[-1]}`, `6`, "token id -1 is outside the vocabulary of 2048"},
		{`{"id":7,"prompt":[1.5]}`, `7`, `field "prompt": it takes text or a list of token ids`},
		{`{"id":8,"prompt":""}`, `8`, "the prompt is empty"},
		{`{"id":9,"prompt":[]}`, `9`, "the prompt is empty"},
		{`{"id":10}`, `10`, `field "prompt" is missing: give text or a list of token ids`},
		{`{"id":11,"prompt":[` + long + `]}`, `11`, "the prompt has 1025 tokens, but the context is 1024"},
		{`{"id":12,"prompt":"x","temperature":-1}`, `12`, "temperature -1: it takes 0 to 100"},
		{`{"id":13,"prompt":"x","temperature":"hot"}`, `13`, `field "temperature": string does not fit: it takes a number`},
		{`{"id":14,"prompt":"x","top_p":0}`, `14`, "top_p 0: it takes above 0, at most 1"},
		{`{"id":15,"prompt":"x","seed":-1}`, `15`, `field "seed": number -1 does not fit: it takes a whole number of 0 or more`},
		{`{"id":16,"prompt":"x","max_tokens":-1}`, `16`, "max_tokens -1: it takes 0 or more"},
		{`{"id":17,"prompt":"x","max_tokens":0}`, `17`, "max_tokens 0 asks for nothing: it takes at least 1 unless prompt_logprobs is wanted"},
		{`{"id":18,"prompt":"x","logprobs":21}`, `18`, "logprobs 21: it takes 0 to 20"},
		{`{"id":19,"prompt":"x","logit_bias":{"x":1}}`, `19`, `logit_bias: "x" is not a token id`},
		{`{"id":20,"prompt":"x","logit_bias":{"7":1e9}}`, `20`, "logit_bias 1e+09 of token 7: it takes -1000 to 1000"},
		{`{"id":21,"prompt":"x","stop":3}`, `21`, "stop takes a string or a list of strings"},
		{`{"id":22,"prompt":"x","stop":[""]}`, `22`, "stop: a string of 0 bytes: it takes 1 to 4096"},
		{`{"id":"b","adapter":"up","prompt":"Once upon","max_tokens":3}`, `"b"`, ""},
		{`{"id":"b","adapter":null,"prompt":"Once","max_tokens":1,"temperature":1e-30}`, `"b"`, ""},
	}
	var lines []string
	for _, c := range cases {
		lines = append(lines, c.line)
	}
	name := write(t, "r.jsonl", strings.Join(lines, "\n")) // the last line has no end
	o := call(t, "generate", "--model", "stories", "--adapter", "up=stories/upper", "--use", "up", "--requests", name)
	assert.Equal(t, exitError, o.code)
	assert.Equal(t, "loquetier: generate: 24 of 27 requests failed: see \"error\" in their lines\n", o.err)
	replies := decode[struct {
		got
		ID json.RawMessage
	}](t, o.out)
	require.Len(t, replies, len(cases))
	for i, c := range cases {
		reason, finish := "", "length"
		if c.reason != "" {
			reason, finish = fmt.Sprintf("%s: line %d: %s", name, i+1, c.reason), "error"
		}
		assert.Equal(t, []string{c.id, finish, reason}, []string{string(replies[i].ID), replies[i].Finish, replies[i].Error})
	}
	assert.Equal(t, " A TIME,", replies[len(cases)-2].Text)
	assert.Equal(t, "up", *replies[0].Adapter, "--use is the default")
	assert.Nil(t, replies[len(cases)-1].Adapter)
}

func TestOrderedKeepsOrderAndStopsAtAnError(t *testing.T) {
	var seen []int
	bad, started := errors.New("bad"), 0
	err := ordered(t.Context(), 2, func(start func(<-chan int) bool) error {
		for i := range 1000 {
			started++
			if !start(working(func() int { return i })) {
				return nil
			}
		}
		return nil
	}, func(i int) error {
		seen = append(seen, i)
		if i == 3 {
			return bad
		}
		return nil
	})
	assert.ErrorIs(t, err, bad)
	assert.Equal(t, []int{0, 1, 2, 3}, seen)
	assert.Less(t, started, 20)
}
