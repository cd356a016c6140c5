package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testdata/window is a random Mistral with a window of 16, one key head for
// four query heads and an odd vocabulary, without a tokenizer; its
// log-probabilities were computed in float64.
func TestSlidingWindowAgreesWithTheReference(t *testing.T) {
	var cases []struct {
		IDs         []int32
		LogProbs    []float64
		Last        int32
		LastLogProb float64 `json:"last_logprob"`
	}
	data, err := os.ReadFile("../testdata/window/expected.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &cases))
	var file strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&file, "{\"prompt\":%s,\"max_tokens\":1,\"prompt_logprobs\":0,\"logprobs\":1,\"ignore_eos\":true}\n", asJSON(t, c.IDs))
	}
	all := decode[got](t, succeed(t, "generate", "--model", "../testdata/window/model", "--dtype", "f32", "--requests", write(t, "r.jsonl", file.String())))
	require.Len(t, all, len(cases))
	for i, c := range cases {
		require.Len(t, all[i].PromptLogProbs, len(c.IDs))
		for j, want := range c.LogProbs {
			assert.InDelta(t, want, all[i].PromptLogProbs[j+1].LogProb, 5e-4, "%d tokens, token %d", len(c.IDs), j+1)
		}
		assert.Equal(t, c.Last, all[i].Tokens[0])
		assert.InDelta(t, c.LastLogProb, all[i].LogProbs[0].LogProb, 5e-4)
	}
}
