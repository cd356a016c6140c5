package cli

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/weights"
)

// one runs generate with --json.
func one(t *testing.T, args ...string) got {
	t.Helper()
	replies := decode[got](t, succeed(t, append([]string{"generate", "--model", "stories", "--json"}, args...)...))
	require.Len(t, replies, 1)
	return replies[0]
}

func TestStopStringsEndTheText(t *testing.T) {
	const begin = ", there was a little girl named "
	ask := []string{"generate", "--model", "stories", "--prompt", "Once upon a time", "--max-tokens", "20"}
	assert.Equal(t, begin+"Lily. She loved to play with her toys and eat snack\n", succeed(t, ask...))
	assert.Equal(t, begin+"\n", succeed(t, append(ask, "--stop", "She", "--stop", "Lily.")...))
	r := one(t, "--prompt", "Once upon a time", "--stop", "named Lily. S", "--max-tokens", "20")
	assert.Equal(t, []string{", there was a little girl ", "stop"}, []string{r.Text, r.Finish})
	assert.Len(t, r.Tokens, 10, "up to the token that completes the stop string")
}

func TestAnEndTokenIsNoPartOfTheOutput(t *testing.T) {
	r := one(t, "--prompt", "Once", "--logit-bias", `{"2": 1000}`)
	assert.Equal(t, []any{"stop", "", []int32{}}, []any{r.Finish, r.Text, r.Tokens})
	r = one(t, "--prompt", "Once", "--logit-bias", `{"2": 1000}`, "--ignore-eos", "--max-tokens", "3")
	assert.Equal(t, []any{"length", "", []int32{2, 2, 2}}, []any{r.Finish, r.Text, r.Tokens})
}

func TestTheSameSeedGivesTheSameText(t *testing.T) {
	line := func(seed int) string {
		return fmt.Sprintf(`{"prompt":"The sun","temperature":1,"top_k":50,"top_p":0.95,"min_p":0.01,"repetition_penalty":1.1,"presence_penalty":0.1,"frequency_penalty":0.1,"max_tokens":30,"seed":%d}`, seed)
	}
	file := write(t, "r.jsonl", line(5)+"\n"+line(6)+"\n"+line(5))
	r := decode[got](t, succeed(t, "generate", "--model", "stories", "--requests", file))
	assert.Equal(t, r[0].Tokens, r[2].Tokens)
	assert.NotEqual(t, r[0].Tokens, r[1].Tokens)
	assert.Equal(t, uint64(6), *r[1].Seed)

	drawn := one(t, "--prompt", "The sun", "--temperature", "1", "--max-tokens", "30")
	require.NotNil(t, drawn.Seed, "a drawn seed is told")
	again := one(t, "--prompt", "The sun", "--temperature", "1", "--max-tokens", "30", "--seed", fmt.Sprint(*drawn.Seed))
	assert.Equal(t, drawn.Tokens, again.Tokens)
	assert.Nil(t, one(t, "--prompt", "The sun", "--max-tokens", "1", "--seed", "3").Seed, "greedy draws nothing")
}

func TestLogProbabilities(t *testing.T) {
	r := one(t, "--dtype", "f32", "--prompt", "Tom and his dog", "--max-tokens", "8", "--logprobs", "3", "--prompt-logprobs", "0")
	require.Len(t, r.LogProbs, len(r.Tokens))
	for i, s := range r.LogProbs {
		assert.Equal(t, r.Tokens[i], s.Token)
		require.Len(t, s.Top, 3)
		assert.Equal(t, [2]float64{float64(s.Token), s.LogProb}, s.Top[0], "greedy takes the most likely")
		assert.True(t, s.LogProb <= 0 && s.Top[0][1] >= s.Top[1][1] && s.Top[1][1] >= s.Top[2][1])
	}
	require.Len(t, r.PromptLogProbs, len(r.PromptIDs))
	assert.Nil(t, r.PromptLogProbs[0])
	for i, s := range r.PromptLogProbs[1:] {
		assert.Equal(t, r.PromptIDs[i+1], s.Token)
		assert.Empty(t, s.Top)
	}
	assert.Nil(t, one(t, "--prompt", "Tom", "--max-tokens", "1").LogProbs, "only when asked for")

	// Scored as a prompt, the output has the same log-probabilities.
	whole := append(append([]int32(nil), r.PromptIDs...), r.Tokens...)
	file := write(t, "r.jsonl", fmt.Sprintf(`{"prompt":%s,"max_tokens":0,"prompt_logprobs":2}`, strings.ReplaceAll(fmt.Sprint(whole), " ", ",")))
	scored := decode[got](t, succeed(t, "generate", "--model", "stories", "--dtype", "f32", "--requests", file))[0]
	assert.Equal(t, []any{"length", []int32{}}, []any{scored.Finish, scored.Tokens})
	for i, s := range r.LogProbs {
		assert.InDelta(t, s.LogProb, scored.PromptLogProbs[len(r.PromptIDs)+i].LogProb, 1e-3)
	}
}

func TestInfiniteLogProbabilitiesAreNumbers(t *testing.T) {
	for _, v := range []float64{math.Inf(-1), math.NaN()} {
		text, err := logProb(v).MarshalJSON()
		require.NoError(t, err)
		assert.Equal(t, "-9999", string(text))
	}
}

// chunks keeps what is written apart.
type chunks []string

func (c *chunks) Write(p []byte) (int, error) {
	*c = append(*c, string(p))
	return len(p), nil
}

func TestTextStreamsAsItComes(t *testing.T) {
	var out chunks
	o := callWith(t.Context(), "", &out, "generate", "--model", "stories", "--prompt", "Once upon a time", "--max-tokens", "20")
	assert.Equal(t, outcome{}, o)
	assert.Greater(t, len(out), 15, "about a chunk a token")
}

func TestAProfileListsTheKernels(t *testing.T) {
	o := call(t, "generate", "--model", "stories", "--prompt", "Once", "--max-tokens", "2", "--profile")
	assert.Equal(t, exitOK, o.code)
	for _, word := range []string{"kernel", "calls", "share", "GB/s", "GFLOP/s", "linear-", "attention_decode", "sample", " % "} {
		assert.Contains(t, o.err, word)
	}
	assert.NotContains(t, o.out, "kernel")
}

func TestLogsGoToStderr(t *testing.T) {
	o := call(t, "generate", "--model", "stories", "--prompt", "Once", "--max-tokens", "1", "--log-level", "info", "--log-format", "json", "--adapter", "a=stories/upper")
	assert.Equal(t, exitOK, o.code)
	logs := decode[map[string]any](t, o.err)
	at := func(message string) int {
		return slices.IndexFunc(logs, func(line map[string]any) bool { return line["msg"] == message })
	}
	loaded, attached := at("model loaded"), at("adapter attached")
	require.True(t, 0 <= loaded && loaded < attached, o.err)
	assert.Equal(t, "a", logs[attached]["name"])
}

func TestTranscriptsGiveWholeCharactersAndNoStopStrings(t *testing.T) {
	x, err := loadText(storiesFolder(t))
	require.NoError(t, err)
	const text = "naïve 日本語 🙂🙂 aaab the end"
	ids, err := x.Tokenizer.Encode(text, false)
	require.NoError(t, err)
	for _, c := range []struct {
		stops   stopStrings
		want    string
		stopped bool
	}{
		{nil, text, false},
		{stopStrings{"xyz", "endx"}, text, false},
		{stopStrings{"🙂🙂 a"}, "naïve 日本語 ", true},
		{stopStrings{"aab"}, "naïve 日本語 🙂🙂 a", true},
		{stopStrings{"the", "b"}, "naïve 日本語 🙂🙂 aaa", true},
		{stopStrings{"end"}, "naïve 日本語 🙂🙂 aaab the ", true},
		{stopStrings{"n"}, "", true},
	} {
		var out strings.Builder
		script := newTranscript(x, nil, c.stops, func(s string) {
			assert.True(t, utf8.ValidString(s) && !strings.Contains(s, "\uFFFD"), "%q", s)
			out.WriteString(s)
		})
		stopped := false
		for _, id := range ids {
			if stopped = script.push(id); stopped {
				break
			}
		}
		if !stopped {
			stopped = script.end()
		}
		assert.Equal(t, []any{c.want, c.stopped}, []any{out.String(), stopped}, c.stops)
		assert.Equal(t, c.want, script.text.String())
	}
}

// However the text is cut into pieces, what comes out is what stands before
// the first stop string, and nothing of it comes out too early.
func TestStopStringsAreFoundAcrossAllCuts(t *testing.T) {
	const text = "abcabdabcabe"
	for _, stops := range []stopStrings{{"abd"}, {"cabe"}, {"e"}, {"abcabe", "bda"}, {"z"}, {"abcabf"}} {
		want, found := stops.find(text)
		for cuts := range 1 << (len(text) - 1) {
			var out bytes.Buffer
			script := &transcript{stops: stops, emit: func(s string) { out.WriteString(s) }}
			stopped, from := false, 0
			for i := 1; i <= len(text) && !stopped; i++ {
				if i == len(text) || cuts>>(i-1)&1 == 1 {
					stopped = script.add(text[from:i])
					from = i
				}
				require.True(t, strings.HasPrefix(want, out.String()) || !found)
			}
			if !stopped {
				script.end()
			}
			require.Equal(t, []any{want, found}, []any{out.String(), stopped}, "%v %b", stops, cuts)
		}
	}
}

func storiesFolder(t *testing.T) weights.Folder {
	t.Helper()
	return weights.OpenFS(os.DirFS("../models/stories/base"), "base")
}
