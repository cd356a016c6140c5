package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outcome is what a run of the program left.
type outcome struct {
	code     int
	out, err string
}

// call runs the program.
func call(t *testing.T, args ...string) outcome {
	t.Helper()
	return callWith(t.Context(), "", nil, args...)
}

// callWith runs the program with its input and, where out is not nil,
// something else to take its output.
func callWith(ctx context.Context, input string, out io.Writer, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	if out == nil {
		out = &stdout
	}
	code := run(ctx, append([]string{"loquetier"}, args...), strings.NewReader(input), out, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// succeed runs the program and returns its output.
func succeed(t *testing.T, args ...string) string {
	t.Helper()
	o := call(t, args...)
	require.Equal(t, outcome{code: exitOK, out: o.out}, o)
	return o.out
}

// write puts a file into a folder of the test's own.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// decode reads the lines of JSON in an output.
func decode[T any](t *testing.T, out string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(out) {
		var v T
		require.NoError(t, json.Unmarshal([]byte(line), &v), line)
		all = append(all, v)
	}
	return all
}

// got is a reply as a user reads it.
type got struct {
	ID             any
	Adapter        *string
	PromptIDs      []int32 `json:"prompt_ids"`
	Tokens         []int32
	Text           string
	Finish         string `json:"finish_reason"`
	Error          string
	Seed           *uint64
	LogProbs       []gotScore
	PromptLogProbs []*gotScore `json:"prompt_logprobs"`
}

type gotScore struct {
	Token   int32
	LogProb float64
	Top     [][2]float64
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for _, command := range []string{
		"", "demo", "devices", "generate", "chat", "eval", "bench", "bench decode", "bench prefill", "bench train", "bench swap", "bench kernels",
		"adapter", "adapter info", "job", "job info", "job pack", "job unpack", "completion",
	} {
		out := succeed(t, append(strings.Fields(command), "--help")...)
		assert.Contains(t, out, "\nEXAMPLE:\n   ", command)
		assert.Contains(t, out, "NAME:\n   "+strings.TrimSpace("loquetier "+command)+" - ", command)
	}
}

func TestCompletionScripts(t *testing.T) {
	for shell, part := range map[string]string{"bash": "complete -o", "zsh": "compdef _loquetier", "fish": "complete -c loquetier"} {
		assert.Contains(t, succeed(t, "completion", shell), part)
	}
	assert.Contains(t, completed(t), "\ngenerate\n")
	assert.Equal(t, "decode\nprefill\ntrain\nswap\nkernels\nproducts\nunified\n", completed(t, "bench"))
	assert.Equal(t, "--tokens\n", completed(t, "bench", "decode", "--tok"))
}

// completed is what the scripts are told; the library looks at os.Args for it.
func completed(t *testing.T, args ...string) string {
	t.Helper()
	before := os.Args
	defer func() { os.Args = before }()
	args = append(args, "--generate-bash-completion")
	os.Args = append([]string{"loquetier"}, args...)
	return succeed(t, args...)
}

func TestAPositionalArgumentMayStandBeforeFlags(t *testing.T) {
	args := flagsFirst(commands(), []string{"loquetier", "adapter", "info", "DIR", "--json", "--model", "M"})
	assert.Equal(t, []string{"loquetier", "adapter", "info", "--json", "--model", "M", "DIR"}, args)
	args = flagsFirst(commands(), []string{"loquetier", "job", "unpack", "-", "DIR", "--help"})
	assert.Equal(t, []string{"loquetier", "job", "unpack", "--help", "-", "DIR"}, args)
	plain := []string{"loquetier", "generate", "--prompt", "x"}
	assert.Equal(t, plain, flagsFirst(commands(), plain))
}

func TestVersion(t *testing.T) {
	assert.True(t, strings.HasPrefix(succeed(t, "--version"), "loquetier version "))
}

// cancelling ends a context when the first output arrives.
type cancelling struct {
	bytes.Buffer
	once   sync.Once
	cancel context.CancelFunc
}

func (c *cancelling) Write(p []byte) (int, error) {
	n, err := c.Buffer.Write(p)
	c.once.Do(c.cancel)
	return n, err
}

func TestAnInterruptKeepsWhatIsThere(t *testing.T) {
	for name, args := range map[string][]string{
		"generate": {"generate", "--model", "stories", "--prompt", "Once upon a time", "--max-tokens", "1000", "--ignore-eos"},
		"chat":     {"chat", "--model", "stories", "--max-tokens", "900", "--ignore-eos"},
		"demo":     {"demo"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &cancelling{cancel: cancel}
			o := callWith(ctx, "Tell me.\n", out, args...)
			assert.Equal(t, outcome{code: exitInterrupted, err: "loquetier: interrupted\n"}, o)
			assert.NotEmpty(t, out.String())
			assert.NotContains(t, out.String(), "published", "nothing has been")
		})
	}
}
