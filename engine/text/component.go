package text

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Limits on the components a file may nest and list.
const (
	maxComponentDepth = 16
	maxComponents     = 256
)

// component is one {"type": ...} object of tokenizer.json, not yet read.
type component struct {
	Type string
	raw  json.RawMessage
}

// isNull reports whether a field is absent or null.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func parseComponent(raw json.RawMessage) (component, error) {
	var head struct{ Type string }
	if err := json.Unmarshal(raw, &head); err != nil {
		return component{}, err
	}
	if head.Type == "" {
		return component{}, fmt.Errorf(`no "type"`)
	}
	return component{head.Type, raw}, nil
}

// fields reads the component's other fields into v.
func (c component) fields(v any) error {
	if err := json.Unmarshal(c.raw, v); err != nil {
		return fmt.Errorf("%s: %w", c.Type, err)
	}
	return nil
}

func (c component) unknown() error { return fmt.Errorf("type %q is not supported", c.Type) }

// flatten gives the components of raw in order: itself, or, where it is a
// Sequence, those of the list in its field `list`, however nested.
func flatten(raw json.RawMessage, list string) ([]component, error) {
	return flattenInto(nil, raw, list, 0)
}

func flattenInto(out []component, raw json.RawMessage, list string, depth int) ([]component, error) {
	c, err := parseComponent(raw)
	if err != nil {
		return nil, err
	}
	if c.Type != "Sequence" {
		if len(out) >= maxComponents {
			return nil, fmt.Errorf("more than %d components", maxComponents)
		}
		return append(out, c), nil
	}
	if depth >= maxComponentDepth {
		return nil, fmt.Errorf("sequences nested more than %d deep", maxComponentDepth)
	}
	var fields map[string]json.RawMessage
	if err := c.fields(&fields); err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(fields[list], &items); err != nil {
		return nil, fmt.Errorf("%s: %w", list, err)
	}
	for i, item := range items {
		if out, err = flattenInto(out, item, list, depth+1); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", list, i, err)
		}
	}
	return out, nil
}

// oneRune reads a string that must be one character.
func oneRune(field, s string) (rune, error) {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || n != len(s) {
		return 0, fmt.Errorf("%s is %q, want one character", field, s)
	}
	return r, nil
}
