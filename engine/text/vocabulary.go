package text

import (
	"fmt"
	"strings"
)

// maxTokenID bounds token ids, so that what is sized by VocabSize stays sane.
const maxTokenID = 1 << 24

// vocabulary is the two-way map between tokens and ids: the model's tokens and
// the added ones.
type vocabulary struct {
	ids    map[string]int32
	tokens map[int32]string
	size   int // largest id + 1
}

func newVocabulary(ids map[string]int32) (*vocabulary, error) {
	v := &vocabulary{ids: make(map[string]int32, len(ids)), tokens: make(map[int32]string, len(ids))}
	for token, id := range ids {
		if err := v.add(token, id); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *vocabulary) add(token string, id int32) error {
	if id < 0 || id >= maxTokenID {
		return fmt.Errorf("token %q has id %d, want 0 to %d", token, id, maxTokenID-1)
	}
	if other, ok := v.tokens[id]; ok {
		first, second := min(token, other), max(token, other)
		return fmt.Errorf("tokens %q and %q both have id %d", first, second, id)
	}
	v.ids[token] = id
	v.tokens[id] = token
	v.size = max(v.size, int(id)+1)
	return nil
}

// byteTokens gives the ids of the 256 tokens <0x00> to <0xFF>, -1 where one is
// missing.
func (v *vocabulary) byteTokens() (ids [256]int32) {
	for b := range ids {
		id, ok := v.ids[fmt.Sprintf("<0x%02X>", b)]
		if !ok {
			id = -1
		}
		ids[b] = id
	}
	return ids
}

// parseByteToken reads a token of the form <0xE2>.
func parseByteToken(token string) (byte, bool) {
	if len(token) != 6 || !strings.HasPrefix(token, "<0x") || token[5] != '>' {
		return 0, false
	}
	high, okHigh := hexDigit(token[3])
	low, okLow := hexDigit(token[4])
	return high<<4 | low, okHigh && okLow
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
