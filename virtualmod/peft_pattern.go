package virtualmod

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"

	"loquetier/engine/weights"
)

// Limits on what a configuration may ask to be matched.
const (
	maxPatterns      = 8192
	maxPatternLength = 64 << 10 // bytes
	matchTimeout     = 250 * time.Millisecond
)

// A pattern is a regular expression that names have to match as a whole. Go's
// own engine takes linear time but not all of Python's syntax; what it does not
// take goes to a backtracking one with limits on time and memory.
type pattern struct {
	text   string
	linear *regexp.Regexp  // nil where the syntax is not Go's
	full   *regexp2.Regexp // nil where linear is set
}

// compilePattern makes a pattern that matches text, after a prefix that ends in
// a dot if any is allowed.
func compilePattern(text string, prefix bool) (*pattern, error) {
	if len(text) > maxPatternLength {
		return nil, fmt.Errorf("a pattern has %d bytes, at most %d are read", len(text), maxPatternLength)
	}
	whole := "^(?:" + text + ")$"
	if prefix {
		whole = `^(?:.*\.)?(?:` + text + ")$"
	}
	p := &pattern{text: text}
	var err error
	if p.linear, err = regexp.Compile(whole); err == nil {
		return p, nil
	}
	p.linear = nil
	if p.full, err = regexp2.Compile(whole); err != nil {
		return nil, fmt.Errorf("the pattern %.80q is not a regular expression", text)
	}
	p.full.MatchTimeout = matchTimeout
	return p, nil
}

func (p *pattern) match(name string) (bool, error) {
	if p.linear != nil {
		return p.linear.MatchString(name), nil
	}
	ok, err := p.full.MatchString(name)
	if err != nil {
		return false, fmt.Errorf("the pattern %.80q takes too much time or memory to match %q", p.text, name)
	}
	return ok, nil
}

// A rule gives modules that match expr a value of their own.
type rule struct {
	expr  *pattern
	value float64
}

// readRules reads rank_pattern or alpha_pattern. The order of the keys matters:
// the first that matches counts.
func readRules(f *weights.Fields, name string) []rule {
	raw := f.Raw(name)
	if raw == nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		f.Fail("%s is %s, want an object", name, f.Show(name))
		return nil
	}
	var rules []rule
	for dec.More() {
		r, err := readRule(dec)
		if err != nil {
			f.Fail("%s: %v", name, err)
			return nil
		}
		if rules = append(rules, r); len(rules) > maxPatterns {
			f.Fail("%s has more than %d entries", name, maxPatterns)
			return nil
		}
	}
	return rules
}

func readRule(dec *json.Decoder) (rule, error) {
	key, err := dec.Token()
	if err != nil {
		return rule{}, err
	}
	text, _ := key.(string) // the keys of an object are strings
	var value *float64
	if err := dec.Decode(&value); err != nil || value == nil {
		return rule{}, fmt.Errorf("the value of %.80q is not a number", text)
	}
	expr, err := compilePattern(text, true)
	if err != nil {
		return rule{}, err
	}
	return rule{expr, *value}, nil
}

// lookUp is the value of the first rule that matches, or fallback.
func lookUp(rules []rule, module string, fallback float64) (float64, error) {
	for _, r := range rules {
		ok, err := r.expr.match(module)
		if ok || err != nil {
			return r.value, err
		}
	}
	return fallback, nil
}

// A selector is a set of modules: by names, each of which stands for every
// module whose path ends in it, or by one expression.
type selector struct {
	names []string
	expr  *pattern // nil: by names
}

// readSelector reads target_modules or exclude_modules: a list of names, an
// expression, or "all-linear". It is nil where the field is absent or bad.
func readSelector(f *weights.Fields, name string) *selector {
	raw := f.Raw(name)
	if raw == nil {
		return nil
	}
	if raw[0] == '[' {
		return &selector{names: f.Texts(name, maxPatterns)}
	}
	text := f.Text(name, "")
	if strings.EqualFold(text, "all-linear") {
		text = ".*_proj" // the linear modules but for the output matrix
	}
	expr, err := compilePattern(text, false)
	if err != nil {
		f.Fail("%s: %v", name, err)
		return nil
	}
	return &selector{expr: expr}
}

// match says whether a module is in the set, and by which name or expression.
func (s *selector) match(module string) (by string, ok bool, err error) {
	if s.expr != nil {
		ok, err = s.expr.match(module)
		return s.expr.text, ok, err
	}
	for _, name := range s.names {
		if module == name {
			return name, true, nil
		}
	}
	for _, name := range s.names {
		if before, found := strings.CutSuffix(module, name); found && strings.HasSuffix(before, ".") {
			return name, true, nil
		}
	}
	return "", false, nil
}
