package text

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites text before it is split.
type normalizer interface {
	normalize(text string) (string, error)
}

// normalizers run one after the other.
type normalizers []normalizer

func (list normalizers) normalize(text string) (string, error) {
	for _, n := range list {
		var err error
		if text, err = n.normalize(text); err != nil {
			return "", err
		}
	}
	return text, nil
}

// parseNormalizer reads the normalizer section; nil when there is none.
func parseNormalizer(raw json.RawMessage) (normalizer, error) {
	if isNull(raw) {
		return nil, nil
	}
	components, err := flatten(raw, "normalizers")
	if err != nil {
		return nil, err
	}
	var list normalizers
	for _, c := range components {
		n, err := newNormalizer(c)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func newNormalizer(c component) (normalizer, error) {
	switch c.Type {
	case "NFC":
		return mapNormalizer(norm.NFC.String), nil
	case "NFD":
		return mapNormalizer(norm.NFD.String), nil
	case "NFKC":
		return mapNormalizer(norm.NFKC.String), nil
	case "NFKD":
		return mapNormalizer(norm.NFKD.String), nil
	case "Lowercase":
		return mapNormalizer(lowercase), nil
	case "StripAccents":
		return mapNormalizer(stripAccents), nil
	case "ByteLevel":
		return mapNormalizer(toByteLevel), nil
	case "Prepend":
		return newPrepend(c)
	case "Strip":
		return newStrip(c)
	case "Replace":
		return newReplace(c)
	}
	return nil, c.unknown()
}

type mapNormalizer func(string) string

func (f mapNormalizer) normalize(text string) (string, error) { return f(text), nil }

// lowercase maps each character on its own, to Unicode's full mapping: of that
// Go lacks the one character that becomes two.
func lowercase(text string) string {
	return strings.ToLower(strings.ReplaceAll(text, "\u0130", "i\u0307"))
}

func stripAccents(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.M, r) {
			return -1
		}
		return r
	}, text)
}

func newPrepend(c component) (normalizer, error) {
	var f struct{ Prepend string }
	if err := c.fields(&f); err != nil {
		return nil, err
	}
	return mapNormalizer(func(text string) string {
		if text == "" {
			return text
		}
		return f.Prepend + text
	}), nil
}

func newStrip(c component) (normalizer, error) {
	f := struct {
		Left  bool `json:"strip_left"`
		Right bool `json:"strip_right"`
	}{true, true}
	if err := c.fields(&f); err != nil {
		return nil, err
	}
	return mapNormalizer(func(text string) string {
		if f.Left {
			text = strings.TrimLeftFunc(text, unicode.IsSpace)
		}
		if f.Right {
			text = strings.TrimRightFunc(text, unicode.IsSpace)
		}
		return text
	}), nil
}

type replaceNormalizer struct {
	pattern pattern
	content string
}

func newReplace(c component) (normalizer, error) {
	var f struct {
		Pattern json.RawMessage
		Content string
	}
	if err := c.fields(&f); err != nil {
		return nil, err
	}
	p, err := parsePattern(f.Pattern)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Type, err)
	}
	return replaceNormalizer{p, f.Content}, nil
}

func (n replaceNormalizer) normalize(text string) (string, error) {
	return n.pattern.replace(text, n.content)
}
