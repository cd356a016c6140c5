package text

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

// componentFile is a small tokenizer with what Hugging Face's library makes of
// texts and ids (testdata/generate.mjs).
type componentFile struct {
	Name      string
	Tokenizer json.RawMessage
	Cases     []goldenCase
	Decodes   []struct {
		IDs       []int32
		Dec, Skip string
	}
}

func componentFiles(t testing.TB) []componentFile {
	t.Helper()
	var files []componentFile
	readJSON(t, "testdata/components.json", &files)
	require.NotEmpty(t, files)
	return files
}

func TestComponentsAgreeWithHuggingFace(t *testing.T) {
	for _, file := range componentFiles(t) {
		t.Run(file.Name, func(t *testing.T) {
			tok, err := Parse(file.Tokenizer)
			require.NoError(t, err)
			for _, c := range file.Cases {
				checkGolden(t, tok, c)
			}
			for _, d := range file.Decodes {
				got := []string{tok.Decode(d.IDs, false), tok.Decode(d.IDs, true)}
				if diff := cmp.Diff([]string{d.Dec, d.Skip}, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("decode %v (-want +got):\n%s", d.IDs, diff)
				}
			}
		})
	}
}
