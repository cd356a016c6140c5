package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// talk runs chat, greedy, over lines of input; answers end with their first line.
func talk(t *testing.T, input string, args ...string) outcome {
	t.Helper()
	return callWith(t.Context(), input, nil, append([]string{"chat", "--model", "stories", "--temperature", "0", "--max-tokens", "12", "--stop", "\n"}, args...)...)
}

// rendered is a conversation as the model's template writes it, for generate,
// which adds the begin-of-text itself.
func rendered(turns ...string) string {
	roles := []string{"user", "assistant"}
	var out strings.Builder
	for i, text := range turns {
		out.WriteString("<|im_start|>" + roles[i%2] + "\n" + text + "<|im_end|>\n")
	}
	return out.String() + "<|im_start|>assistant\n"
}

func answerTo(t *testing.T, adapter string, turns ...string) string {
	t.Helper()
	out := succeed(t, "generate", "--model", "stories", "--use", adapter, "--max-tokens", "12", "--stop", "\n", "--prompt", rendered(turns...))
	return strings.TrimSuffix(out, "\n")
}

func TestChatAnswersThroughAPipe(t *testing.T) {
	first := answerTo(t, "base", "Once upon a time")
	second := answerTo(t, "stories/upper", "Once upon a time", first, "And then?")
	o := talk(t, "Once upon a time\n\n/use stories/upper\nAnd then?\n/reset\n/use base\nOnce upon a time\n/quit\nnot read\n")
	assert.Equal(t, outcome{out: first + "\n" + second + "\n" + first + "\n"}, o)
}

func TestChatSystemMessage(t *testing.T) {
	plain := talk(t, "Hello\n")
	assert.NotEqual(t, plain.out, talk(t, "/system Tell a story about a cat.\nHello\n").out)
	assert.Equal(t, plain, talk(t, "Hi\n/system Tell a story.\n/system\nHello\n").after(1))
}

// after is the outcome without its first lines of output.
func (o outcome) after(lines int) outcome {
	for range lines {
		_, o.out, _ = strings.Cut(o.out, "\n")
	}
	return o
}

func TestChatSaysWhatIsWrongAndGoesOn(t *testing.T) {
	o := talk(t, "/use nope\n/frob\n/help\n"+strings.Repeat("long ", 60)+"\nHi\n", "--context", "48")
	assert.Equal(t, exitOK, o.code)
	assert.Equal(t, 1, strings.Count(o.out, "\n"), "one answer")
	want := `unknown adapter "nope": none is attached: add --adapter NAME=DIR, or use stories/math, stories/shakespeare, stories/upper
unknown command /frob: /help tells the commands
` + chatHelp + "\n"
	assert.True(t, strings.HasPrefix(o.err, want), o.err)
	assert.Regexp(t, `^the conversation has \d+ tokens, but the context is 48: /reset begins anew\n$`, strings.TrimPrefix(o.err, want))
}

func TestChatTellsWhenTheContextIsFull(t *testing.T) {
	o := talk(t, "Hello\n", "--context", "16", "--max-tokens", "100", "--ignore-eos")
	assert.Equal(t, outcome{out: o.out, err: "the conversation fills the context of 16 tokens: /reset begins anew\n"}, o)
}

func TestChatStopsAtTheEndOfATurn(t *testing.T) {
	// The id of <|im_end|>, which the configuration does not name as an end.
	r := one(t, "--prompt", "<|im_end|>", "--max-tokens", "1")
	require.Len(t, r.PromptIDs, 2)
	o := talk(t, "Hello\n", "--logit-bias", `{"`+list([]int{int(r.PromptIDs[1])})+`": 1000}`)
	assert.Equal(t, outcome{out: "\n"}, o)
}
