package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBenchSwap(t *testing.T) {
	out := succeed(t, strings.Fields("bench swap --model stories --batch 2 --adapters 1 --rank 4 --quiet 3 --count 1 --piece 100")...)
	for _, what := range []string{"load", "publish", "train", "checkpoint", "resume", "publish-host"} {
		assert.Regexp(t, `\nBenchmarkSwap/model=stories/batch=2/adapters=1/rank=4/`+what+`-\d+\t1\t\d+ ns/op\t\d+\.\d steps/op\t\d+ p50-alone-us\t\d+ p90-alone-us\t\d+ max-alone-us\t\d+ p50-beside-us`, out)
	}
	for args, want := range map[string]string{
		"--piece 0":                "--piece 0: it takes 1 to 1048576",
		"--quiet 400 --context 64": "the streams ended before the measurement did: choose a smaller --count or --quiet, or a larger --context",
	} {
		o := call(t, strings.Fields("bench swap --model stories "+args)...)
		require.NotEqual(t, exitOK, o.code)
		require.Contains(t, o.err, "loquetier: bench swap: "+want+"\n")
	}
}
