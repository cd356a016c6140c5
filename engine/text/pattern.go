package text

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

const (
	maxPatternLength = 16 << 10
	// A pattern that backtracks without end must not hang a server; the
	// patterns of real models take microseconds.
	patternTimeout = 5 * time.Second
	patternStack   = 1 << 22 // integers of backtracking stack
)

// gpt2Pattern is what ByteLevel splits by (GPT-2's encoder.py).
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// pattern finds places in text: a literal string or a regular expression.
type pattern struct {
	literal string
	expr    *regexp2.Regexp // nil: literal
}

// parsePattern reads {"String": s} or {"Regex": s}.
func parsePattern(raw json.RawMessage) (pattern, error) {
	var p struct{ String, Regex *string }
	if err := json.Unmarshal(raw, &p); err != nil {
		return pattern{}, fmt.Errorf("pattern: %w", err)
	}
	switch {
	case p.String != nil && p.Regex == nil:
		return pattern{literal: *p.String}, nil
	case p.Regex != nil && p.String == nil:
		return compilePattern(*p.Regex)
	}
	return pattern{}, fmt.Errorf(`pattern: want one of "String" and "Regex"`)
}

func compilePattern(expr string) (pattern, error) {
	if len(expr) > maxPatternLength {
		return pattern{}, fmt.Errorf("pattern: %d bytes, want at most %d", len(expr), maxPatternLength)
	}
	re, err := regexp2.Compile(expr, regexp2.OptionMaxBacktrackingStackSize(patternStack))
	if err != nil {
		return pattern{}, fmt.Errorf("pattern %q: %w", expr, err)
	}
	re.MatchTimeout = patternTimeout
	return pattern{expr: re}, nil
}

// find gives the matches in s in order, as byte ranges.
func (p pattern) find(s string) ([][]int, error) {
	if p.expr != nil {
		found, err := p.expr.FindAllStringIndex(s, -1)
		if err != nil {
			return nil, fmt.Errorf("match %q: %w", p.expr.String(), err)
		}
		return found, nil
	}
	var found [][]int
	for at := 0; p.literal != ""; {
		i := strings.Index(s[at:], p.literal)
		if i < 0 {
			break
		}
		found = append(found, []int{at + i, at + i + len(p.literal)})
		at += i + len(p.literal)
	}
	return found, nil
}

// replace puts content in the place of every match; content is literal.
func (p pattern) replace(s, content string) (string, error) {
	if p.expr == nil && p.literal != "" {
		return strings.ReplaceAll(s, p.literal, content), nil
	}
	found, err := p.find(s)
	if err != nil || len(found) == 0 {
		return s, err
	}
	var out strings.Builder
	done := 0
	for _, m := range found {
		out.WriteString(s[done:m[0]])
		out.WriteString(content)
		done = m[1]
	}
	out.WriteString(s[done:])
	return out.String(), nil
}
