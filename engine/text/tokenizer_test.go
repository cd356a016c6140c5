package text

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTokenAndID(t *testing.T) {
	tok := storiesTokenizer(t)
	assert.Equal(t, 2048, tok.VocabSize())
	for id := range int32(tok.VocabSize()) {
		token, ok := tok.Token(id)
		require.True(t, ok, id)
		assert.Equal(t, id, mustID(t, tok, token))
		assert.Equal(t, id < 5, tok.IsSpecial(id), token)
	}
	_, ok := tok.Token(-1)
	assert.False(t, ok)
	_, ok = tok.ID("no such token")
	assert.False(t, ok)
}

func TestEncodeReadsInvalidUTF8AsReplacement(t *testing.T) {
	tok := storiesTokenizer(t)
	want, err := tok.Encode("a\uFFFDb", true)
	require.NoError(t, err)
	got, err := tok.Encode("a\xffb", true)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestEncodeIsSafeForConcurrentUse(t *testing.T) {
	tok := storiesTokenizer(t)
	want, err := tok.Encode("Once upon a time there was a fox.", true)
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 50 {
				_, err := tok.Encode(fmt.Sprintf("word%d upon", i), false)
				assert.NoError(t, err)
				got, err := tok.Encode("Once upon a time there was a fox.", true)
				assert.NoError(t, err)
				assert.Equal(t, want, got)
			}
		})
	}
	group.Wait()
}

func TestWordCacheIsBounded(t *testing.T) {
	c := newWordCache()
	for i := range 3 * maxCachedWords {
		c.put(fmt.Sprint(i), []int32{int32(i)})
		require.LessOrEqual(t, len(c.words), maxCachedWords)
	}
	c.put(strings.Repeat("a", maxCachedWord+1), []int32{1})
	_, ok := c.get(strings.Repeat("a", maxCachedWord+1))
	assert.False(t, ok, "a long word is not kept")
	ids, ok := c.get(fmt.Sprint(3*maxCachedWords - 1))
	assert.True(t, ok)
	assert.Equal(t, []int32{3*maxCachedWords - 1}, ids)
}

// doublingTokenizer merges runs of a: aa, aaaa, and so on.
func doublingTokenizer(t testing.TB) *Tokenizer {
	t.Helper()
	vocab, merges := map[string]int32{"a": 0}, [][2]string{}
	for run := "a"; len(run) < 1<<12; run += run {
		merges = append(merges, [2]string{run, run})
		vocab[run+run] = int32(len(vocab))
	}
	data, err := json.Marshal(map[string]any{"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": merges}})
	require.NoError(t, err)
	tok, err := Parse(data)
	require.NoError(t, err)
	return tok
}

func TestLongRunCostsLittle(t *testing.T) {
	const n = 100_000
	tok := doublingTokenizer(t)
	symbols := tok.model.symbols(strings.Repeat("a", n))
	require.Len(t, symbols, n)
	assert.LessOrEqual(t, tok.model.mergeAll(symbols), 3*n, "heap entries looked at")

	ids, err := tok.Encode(strings.Repeat("a", n), false)
	require.NoError(t, err)
	assert.Less(t, len(ids), n/(1<<12)+16)
	assert.Equal(t, n, len(strings.ReplaceAll(tok.Decode(ids, false), " ", "")))
}

func BenchmarkLongRun(b *testing.B) {
	for name, tok := range map[string]*Tokenizer{"merging": doublingTokenizer(b), "stories": storiesTokenizer(b)} {
		text := strings.Repeat("a", 100_000)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				_, err := tok.Encode(text, false)
				require.NoError(b, err)
			}
		})
	}
}

func BenchmarkEncodeCorpus(b *testing.B) {
	var texts []string
	readJSON(b, filepath.Join(goldenText, "corpus.json"), &texts)
	text := strings.Join(texts, "\n")
	for _, name := range []string{"llama3_1", "llama2"} {
		b.Run(name, func(b *testing.B) {
			tok := vendorTokenizer(b, name)
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				_, err := tok.Encode(text, true)
				require.NoError(b, err)
			}
		})
	}
}

func TestEncodeGivesUpOnAPatternWithoutEnd(t *testing.T) {
	tok, err := Parse([]byte(`{"model": {"vocab": {"a": 0}, "merges": []},
		"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}}`))
	require.NoError(t, err)
	tok.pre.(preTokenizers)[0].(patternSplit).pattern.(pattern).expr.MatchTimeout = 10 * time.Millisecond
	_, err = tok.Encode(strings.Repeat("a", 60)+"b", false)
	require.ErrorContains(t, err, `encode text: match "(a+)+$": `)
}

func TestParseRefuses(t *testing.T) {
	const model = `"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}`
	deep := strings.Repeat(`{"type": "Sequence", "normalizers": [`, 20) + strings.Repeat("]}", 20)
	for name, c := range map[string]struct{ file, want string }{
		"no JSON":          {`{`, "tokenizer.json: unexpected end of JSON input"},
		"no model":         {`{}`, "tokenizer.json: model: missing"},
		"no vocab":         {`{"model": {"merges": []}}`, "model: vocab: missing"},
		"no merges":        {`{"model": {"vocab": {}}}`, "model: merges: missing"},
		"model type":       {`{"model": {"type": "Unigram"}}`, `model: type "Unigram" is not supported`},
		"dropout":          {`{"model": {"vocab": {}, "merges": [], "dropout": 0.1}}`, "model: dropout 0.1 is not supported"},
		"prefix":           {`{"model": {"vocab": {}, "merges": [], "continuing_subword_prefix": "##"}}`, `continuing_subword_prefix "##"`},
		"suffix":           {`{"model": {"vocab": {}, "merges": [], "end_of_word_suffix": "</w>"}}`, `end_of_word_suffix "</w>"`},
		"unk":              {`{"model": {"vocab": {}, "merges": [], "unk_token": "?"}}`, `unk_token "?" is not in vocab`},
		"negative id":      {`{"model": {"vocab": {"a": -1}, "merges": []}}`, `model: vocab: token "a" has id -1`},
		"huge id":          {`{"model": {"vocab": {"a": 2000000000}, "merges": []}}`, `token "a" has id 2000000000`},
		"id twice":         {`{"model": {"vocab": {"a": 1, "b": 1}, "merges": []}}`, `tokens "a" and "b" both have id 1`},
		"merge of three":   {`{"model": {"vocab": {"a": 1}, "merges": ["a a a"]}}`, `merge "a a a", want two tokens`},
		"merge list":       {`{"model": {"vocab": {"a": 1}, "merges": [["a"]]}}`, "a merge of 1 tokens, want 2"},
		"merge unknown":    {`{"model": {"vocab": {"a": 1}, "merges": ["a a"]}}`, `model: merges: merge 0 ("a", "a"): token "aa" is not in vocab`},
		"normalizer":       {`{"normalizer": {"type": "Nmt"}, ` + model + `}`, `normalizer: type "Nmt" is not supported`},
		"no type":          {`{"normalizer": {}, ` + model + `}`, `normalizer: no "type"`},
		"nested":           {`{"normalizer": ` + deep + `, ` + model + `}`, "sequences nested more than 16 deep"},
		"pre-tokenizer":    {`{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "BertPreTokenizer"}]}, ` + model + `}`, `pre_tokenizer: type "BertPreTokenizer" is not supported`},
		"pattern":          {`{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}, ` + model + `}`, `pre_tokenizer: Split: pattern "("`},
		"pattern missing":  {`{"pre_tokenizer": {"type": "Split", "pattern": {}, "behavior": "Isolated"}, ` + model + `}`, `want one of "String" and "Regex"`},
		"behavior":         {`{"pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Kept"}, ` + model + `}`, `behavior "Kept" is not supported`},
		"prepend_scheme":   {`{"pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}, ` + model + `}`, `prepend_scheme "last" is not supported`},
		"replacement":      {`{"pre_tokenizer": {"type": "Metaspace", "replacement": "__"}, ` + model + `}`, `replacement is "__", want one character`},
		"post-processor":   {`{"post_processor": {"type": "BertProcessing"}, ` + model + `}`, `post_processor: type "BertProcessing" is not supported`},
		"template token":   {`{"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}], "special_tokens": {}}, ` + model + `}`, `single[0]: "<s>" is not in special_tokens`},
		"template id":      {`{"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a"}}], "special_tokens": {"a": {"ids": [9]}}}, ` + model + `}`, `special_tokens: "a": id 9 is no token`},
		"template B":       {`{"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}]}, ` + model + `}`, "single[0]: want a SpecialToken or Sequence A"},
		"decoder":          {`{"decoder": {"type": "WordPiece"}, ` + model + `}`, `decoder: type "WordPiece" is not supported`},
		"decoder regex":    {`{"decoder": {"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}, ` + model + `}`, "decoder: Replace: a Regex pattern"},
		"decoder strip":    {`{"decoder": {"type": "Strip", "content": " ", "start": -1}, ` + model + `}`, "start -1"},
		"added id taken":   {`{"added_tokens": [{"id": 1, "content": "<s>"}], ` + model + `}`, `added_tokens: entry 0: tokens "<s>" and "b" both have id 1`},
		"added too long":   {`{"added_tokens": [{"id": 9, "content": "` + strings.Repeat("x", 2000) + `"}], ` + model + `}`, "content of 2000 bytes"},
		"added wrong type": {`{"added_tokens": [{"id": "9"}], ` + model + `}`, "tokenizer.json: json: cannot unmarshal string"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.file))
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
	_, err := Parse([]byte("{" + model + "}"))
	assert.NoError(t, err, "the model the cases share")
}

// TestParseSurvivesCorruption cuts and corrupts files: an error or a tokenizer
// that works, never a panic.
func TestParseSurvivesCorruption(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	stories, err := os.ReadFile(filepath.Join(storiesBase, "tokenizer.json"))
	require.NoError(t, err)
	files := [][]byte{stories}
	for _, file := range componentFiles(t) {
		files = append(files, file.Tokenizer)
	}
	refused := 0
	for _, file := range files {
		for range 25 {
			if !survives(t, file[:r.IntN(len(file))]) {
				refused++
			}
			survives(t, corrupt(r, file))
		}
	}
	assert.Equal(t, 25*len(files), refused, "every file cut short is refused")
}

// corrupt changes a few bytes, mostly of the head and the tail: the lists of
// tokens lie between.
func corrupt(r *rand.Rand, file []byte) []byte {
	file = append([]byte(nil), file...)
	for range 1 + r.IntN(3) {
		at := r.IntN(min(len(file), 1500))
		if r.IntN(2) == 0 {
			at = len(file) - 1 - at
		}
		file[at] = `0123456789"{}[],:abtfn-\ `[r.IntN(25)]
	}
	return file
}

func survives(t *testing.T, file []byte) bool {
	t.Helper()
	tok, err := Parse(file)
	if err != nil {
		return false
	}
	ids, err := tok.Encode("hello <s> wörld 12 \U0001F600\n", true)
	if err == nil {
		tok.Decode(append(ids, -1, 1<<30), true)
	}
	return true
}

func FuzzEncodeDecode(f *testing.F) {
	tok := storiesTokenizer(f)
	f.Add("Once upon a time")
	f.Add("<|im_start|>\x00\xff")
	f.Fuzz(func(t *testing.T, s string) {
		ids, err := tok.Encode(s, false)
		require.NoError(t, err)
		assert.Equal(t, strings.ToValidUTF8(s, "\uFFFD"), tok.Decode(ids, false))
	})
}
