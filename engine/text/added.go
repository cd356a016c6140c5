package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on the added tokens of a file. Matching looks at up to
// maxAddedLength bytes at each place of the text.
const (
	maxAddedLength = 1024
	maxAddedTokens = 1 << 18
)

// addedToken is one entry of added_tokens.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// addedTokens are matched in text before anything else is done with it.
type addedTokens struct {
	raw        tokenMatcher // matched before normalization
	normalized tokenMatcher // matched after it, in normalized spelling
	special    map[int32]bool
}

// span is a stretch of text, or the added token that was found in its place.
type span struct {
	piece
	id    int32
	token bool
}

// newAddedTokens enters the tokens into v (a token the model knows keeps the
// model's id, as in Hugging Face's) and builds the matchers.
func newAddedTokens(list []addedToken, v *vocabulary, n normalizer) (*addedTokens, error) {
	if len(list) > maxAddedTokens {
		return nil, fmt.Errorf("%d entries, want at most %d", len(list), maxAddedTokens)
	}
	a := &addedTokens{special: map[int32]bool{}}
	for i, token := range list {
		if err := a.add(token, v, n); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return a, nil
}

func (a *addedTokens) add(token addedToken, v *vocabulary, n normalizer) error {
	if len(token.Content) > maxAddedLength {
		return fmt.Errorf("content of %d bytes, want at most %d", len(token.Content), maxAddedLength)
	}
	if token.Content == "" {
		return nil // it could never match
	}
	if id, ok := v.ids[token.Content]; ok {
		token.ID = id
	} else if err := v.add(token.Content, token.ID); err != nil {
		return err
	}
	if token.Special {
		a.special[token.ID] = true
	}
	if !token.Normalized {
		a.raw.add(token.Content, token)
		return nil
	}
	pattern := token.Content
	if n != nil {
		var err error
		if pattern, err = n.normalize(pattern); err != nil {
			return fmt.Errorf("normalize %q: %w", token.Content, err)
		}
	}
	a.normalized.add(pattern, token)
	return nil
}

// tokenMatcher finds added tokens in text, the leftmost longest first: a trie
// over bytes, so that each place of the text costs at most maxAddedLength
// steps. Node 0 is the root.
type tokenMatcher struct {
	edges map[trieEdge]int32
	ends  map[int32]addedToken
	first [256]bool // bytes some token begins with
}

type trieEdge struct {
	node int32
	b    byte
}

func (m *tokenMatcher) add(pattern string, token addedToken) {
	if pattern == "" {
		return
	}
	if m.edges == nil {
		m.edges, m.ends = map[trieEdge]int32{}, map[int32]addedToken{}
	}
	m.first[pattern[0]] = true
	node := int32(0)
	for i := range len(pattern) {
		edge := trieEdge{node, pattern[i]}
		next, ok := m.edges[edge]
		if !ok {
			next = int32(len(m.edges) + 1)
			m.edges[edge] = next
		}
		node = next
	}
	m.ends[node] = token
}

// at gives the longest token that text[pos:] begins with, and its length.
func (m *tokenMatcher) at(text string, pos int) (found addedToken, n int, ok bool) {
	if !m.first[text[pos]] {
		return addedToken{}, 0, false
	}
	node := int32(0)
	for i := pos; i < len(text); i++ {
		next, has := m.edges[trieEdge{node, text[i]}]
		if !has {
			break
		}
		node = next
		if token, end := m.ends[node]; end {
			found, n, ok = token, i+1-pos, true
		}
	}
	return found, n, ok
}

// split cuts p at the tokens in it. Stretches of no text are left out.
func (m *tokenMatcher) split(p piece) []span {
	var out []span
	text, done := p.text, 0
	for pos := 0; pos < len(text); {
		token, n, ok := m.at(text, pos)
		if !ok {
			pos++
			continue
		}
		start, end := pos, pos+n
		pos = end
		if token.SingleWord && insideWord(text, start, end) {
			continue
		}
		if token.LStrip {
			start = max(done, len(strings.TrimRightFunc(text[:start], unicode.IsSpace)))
		}
		if token.RStrip {
			end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		if start > done {
			out = append(out, span{piece: piece{text[done:start], p.first && done == 0}})
		}
		out = append(out, span{id: token.ID, token: true})
		done, pos = end, end
	}
	if done < len(text) {
		out = append(out, span{piece: piece{text[done:], p.first && done == 0}})
	}
	return out
}

// insideWord reports whether text[start:end] touches a word character on
// either side.
func insideWord(text string, start, end int) bool {
	before, n := utf8.DecodeLastRuneInString(text[:start])
	if n > 0 && isWord(before) {
		return true
	}
	after, n := utf8.DecodeRuneInString(text[end:])
	return n > 0 && isWord(after)
}

// isWord is \w of Rust's regex library (Unicode UTS #18, annex C).
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc,
		unicode.Other_Alphabetic, unicode.Join_Control)
}
