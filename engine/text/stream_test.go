package text

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// checkStream pushes ids and wants Decode's text, in whole characters. It
// compares with a decoding of its own making only where there is one
// (components_test.go, golden_test.go): Decode is built on Stream, so here what
// is at stake is that nothing is cut, lost or given twice.
func checkStream(t *testing.T, tok *Tokenizer, ids []int32, skip bool) {
	t.Helper()
	s := NewStream(tok, skip)
	var all strings.Builder
	for i, id := range ids {
		text := s.Push(id)
		require.True(t, utf8.ValidString(text), "push %q of %v", text, ids)
		all.WriteString(text)
		require.True(t, strings.HasPrefix(tok.Decode(ids, skip), all.String()), "after %d of %v", i+1, ids)
	}
	all.WriteString(s.Flush())
	assert.Equal(t, tok.Decode(ids, skip), all.String())
	assert.Empty(t, s.Flush(), "second flush")
}

func randomIDs(r *rand.Rand, size int) []int32 {
	ids := make([]int32, r.IntN(24))
	for i := range ids {
		ids[i] = int32(r.IntN(size + 2)) // now and then an id without a token
	}
	return ids
}

func TestStreamEqualsDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, file := range componentFiles(t) {
		tok, err := Parse(file.Tokenizer)
		require.NoError(t, err)
		for range 40 {
			checkStream(t, tok, randomIDs(r, tok.VocabSize()), r.IntN(2) == 0)
		}
	}
	stories := storiesTokenizer(t)
	for range 500 {
		checkStream(t, stories, randomIDs(r, stories.VocabSize()), r.IntN(2) == 0)
	}
}

func TestStreamEqualsDecodeForVendors(t *testing.T) {
	for _, name := range []string{"llama3_1", "qwen3", "llama2"} {
		t.Run(name, func(t *testing.T) {
			tok := vendorTokenizer(t, name)
			r := rand.New(rand.NewPCG(3, 4))
			for range 300 {
				checkStream(t, tok, randomIDs(r, tok.VocabSize()), true)
			}
		})
	}
}

func TestStreamHoldsBackHalfACharacter(t *testing.T) {
	tok := storiesTokenizer(t)
	ids, err := tok.Encode("☃", false)
	require.NoError(t, err)
	require.Len(t, ids, 3, "three bytes")
	s := NewStream(tok, true)
	assert.Equal(t, []string{"", "", "☃", ""}, []string{s.Push(ids[0]), s.Push(ids[1]), s.Push(ids[2]), s.Flush()})

	s = NewStream(tok, true)
	assert.Equal(t, []string{"", "", "\uFFFD"}, []string{s.Push(ids[0]), s.Push(ids[1]), s.Flush()}, "cut off")

	s = NewStream(tok, true)
	assert.Equal(t, []string{"", "\uFFFDi", ""}, []string{s.Push(ids[0]), s.Push(mustID(t, tok, "i")), s.Flush()}, "broken off")
}

func TestStreamDropsOnlyTheFirstSpace(t *testing.T) {
	var tok *Tokenizer
	for _, file := range componentFiles(t) {
		if file.Name == "byte_fallback" {
			var err error
			tok, err = Parse(file.Tokenizer)
			require.NoError(t, err)
		}
	}
	require.NotNil(t, tok)
	s := NewStream(tok, true)
	hello := mustID(t, tok, "▁hello")
	got := []string{s.Push(mustID(t, tok, "<s>")), s.Push(hello), s.Push(hello), s.Push(mustID(t, tok, "<0xC3>")), s.Push(mustID(t, tok, "<0xA9>")), s.Push(hello), s.Flush()}
	assert.Equal(t, []string{"", "hello", " hello", "", "", "é hello", ""}, got)
}

func mustID(t *testing.T, tok *Tokenizer, token string) int32 {
	t.Helper()
	id, ok := tok.ID(token)
	require.True(t, ok, token)
	return id
}
