package text

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// preTokenizer splits pieces into the words the model encodes one by one.
type preTokenizer interface {
	preTokenize(pieces []piece) ([]piece, error)
}

// preTokenizers run one after the other.
type preTokenizers []preTokenizer

func (list preTokenizers) preTokenize(pieces []piece) ([]piece, error) {
	for _, p := range list {
		var err error
		if pieces, err = p.preTokenize(pieces); err != nil {
			return nil, err
		}
	}
	return pieces, nil
}

// parsePreTokenizer reads the pre_tokenizer section; nil when there is none.
func parsePreTokenizer(raw json.RawMessage) (preTokenizer, error) {
	if isNull(raw) {
		return nil, nil
	}
	components, err := flatten(raw, "pretokenizers")
	if err != nil {
		return nil, err
	}
	var list preTokenizers
	for _, c := range components {
		p, err := newPreTokenizer(c)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func newPreTokenizer(c component) (preTokenizer, error) {
	switch c.Type {
	case "ByteLevel":
		return newByteLevel(c)
	case "Split":
		return newSplit(c)
	case "Metaspace":
		return newMetaspace(c)
	case "Digits":
		return newDigits(c)
	case "Punctuation":
		return newPunctuation(c)
	case "Whitespace":
		return patternSplit{pattern: wordsPattern{}, behavior: removed, invert: true}, nil
	case "WhitespaceSplit":
		return runeSplit{match: unicode.IsSpace, behavior: removed}, nil
	}
	return nil, c.unknown()
}

// finder is what a patternSplit splits by.
type finder interface {
	find(s string) ([][]int, error)
}

// patternSplit splits by matches of a pattern.
type patternSplit struct {
	pattern  finder
	behavior behavior
	invert   bool
}

func (s patternSplit) preTokenize(pieces []piece) ([]piece, error) {
	var out []piece
	for _, p := range pieces {
		found, err := s.pattern.find(p.text)
		if err != nil {
			return nil, err
		}
		out = p.cut(out, s.behavior.apply(sections(len(p.text), found, s.invert)))
	}
	return out, nil
}

func newSplit(c component) (preTokenizer, error) {
	var f struct {
		Pattern  json.RawMessage
		Behavior behavior
		Invert   bool
	}
	if err := c.fields(&f); err != nil {
		return nil, err
	}
	p, err := parsePattern(f.Pattern)
	if err == nil {
		err = f.Behavior.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Type, err)
	}
	return patternSplit{p, f.Behavior, f.Invert}, nil
}

// wordsPattern matches \w+|[^\w\s]+.
type wordsPattern struct{}

func (wordsPattern) find(s string) ([][]int, error) {
	var found [][]int
	before := 0
	for at, r := range s {
		class := wordClass(r)
		if class != 0 {
			if class != before {
				found = append(found, []int{at, at})
			}
			found[len(found)-1][1] = at + len(string(r))
		}
		before = class
	}
	return found, nil
}

func wordClass(r rune) int {
	switch {
	case isWord(r):
		return 1
	case unicode.IsSpace(r):
		return 0
	}
	return 2
}

// runeSplit splits at characters of a class.
type runeSplit struct {
	match    func(rune) bool
	behavior behavior
	single   bool // each such character is a match of its own
}

func (s runeSplit) preTokenize(pieces []piece) ([]piece, error) {
	var out []piece
	for _, p := range pieces {
		out = p.cut(out, s.behavior.apply(sectionsOf(p.text, s.match, s.single)))
	}
	return out, nil
}

func newDigits(c component) (preTokenizer, error) {
	var f struct {
		Individual bool `json:"individual_digits"`
	}
	err := c.fields(&f)
	return runeSplit{match: unicode.IsNumber, behavior: isolated, single: f.Individual}, err
}

func newPunctuation(c component) (preTokenizer, error) {
	f := struct{ Behavior behavior }{isolated}
	if err := c.fields(&f); err != nil {
		return nil, err
	}
	if err := f.Behavior.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Type, err)
	}
	return runeSplit{match: isPunctuation, behavior: f.Behavior, single: true}, nil
}

// isPunctuation is ASCII's punctuation and Unicode's.
func isPunctuation(r rune) bool {
	return unicode.IsPunct(r) || r < 0x80 && unicode.IsSymbol(r)
}

// byteLevel writes pieces in the byte-level alphabet, first splitting them
// GPT-2's way unless the file says otherwise.
type byteLevel struct {
	addPrefixSpace bool
	split          preTokenizer // nil: none
}

func newByteLevel(c component) (preTokenizer, error) {
	f := struct {
		AddPrefixSpace bool `json:"add_prefix_space"`
		UseRegex       bool `json:"use_regex"`
	}{true, true}
	if err := c.fields(&f); err != nil {
		return nil, err
	}
	b := byteLevel{addPrefixSpace: f.AddPrefixSpace}
	if f.UseRegex {
		p, err := compilePattern(gpt2Pattern)
		if err != nil {
			return nil, err
		}
		b.split = patternSplit{pattern: p, behavior: isolated}
	}
	return b, nil
}

func (b byteLevel) preTokenize(pieces []piece) ([]piece, error) {
	in := make([]piece, len(pieces))
	for i, p := range pieces {
		if b.addPrefixSpace && p.text != "" && !strings.HasPrefix(p.text, " ") {
			p.text = " " + p.text
		}
		in[i] = p
	}
	if b.split != nil {
		var err error
		if in, err = b.split.preTokenize(in); err != nil {
			return nil, err
		}
	}
	for i := range in {
		in[i].text = toByteLevel(in[i].text)
	}
	return in, nil
}

// metaspace writes spaces as a visible character, puts one in front, and
// splits before each (SentencePiece's way).
type metaspace struct {
	replacement string
	scheme      string // "always", "first" (only where the text begins), "never"
	split       bool
}

// metaspaceFields are shared by the pre-tokenizer and the decoder.
type metaspaceFields struct {
	Replacement    string
	AddPrefixSpace *bool   `json:"add_prefix_space"` // files before prepend_scheme
	PrependScheme  *string `json:"prepend_scheme"`
	Split          *bool
}

func newMetaspace(c component) (preTokenizer, error) {
	m, err := parseMetaspace(c)
	return m, err
}

func parseMetaspace(c component) (metaspace, error) {
	f := metaspaceFields{Replacement: "\u2581"}
	if err := c.fields(&f); err != nil {
		return metaspace{}, err
	}
	if _, err := oneRune("replacement", f.Replacement); err != nil {
		return metaspace{}, fmt.Errorf("%s: %w", c.Type, err)
	}
	m := metaspace{replacement: f.Replacement, scheme: "always", split: f.Split == nil || *f.Split}
	switch {
	case f.PrependScheme != nil:
		m.scheme = *f.PrependScheme
	case f.AddPrefixSpace != nil && !*f.AddPrefixSpace:
		m.scheme = "never"
	}
	if m.scheme != "always" && m.scheme != "first" && m.scheme != "never" {
		return metaspace{}, fmt.Errorf("%s: prepend_scheme %q is not supported", c.Type, m.scheme)
	}
	return m, nil
}

func (m metaspace) preTokenize(pieces []piece) ([]piece, error) {
	var out []piece
	for _, p := range pieces {
		p.text = strings.ReplaceAll(p.text, " ", m.replacement)
		if m.prepends(p) && p.text != "" && !strings.HasPrefix(p.text, m.replacement) {
			p.text = m.replacement + p.text
		}
		if !m.split {
			out = append(out, p)
			continue
		}
		found, err := pattern{literal: m.replacement}.find(p.text)
		if err != nil {
			return nil, err
		}
		out = p.cut(out, mergeNext(sections(len(p.text), found, false)))
	}
	return out, nil
}

func (m metaspace) prepends(p piece) bool {
	return m.scheme == "always" || m.scheme == "first" && p.first
}
