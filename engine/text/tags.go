package text

import (
	"fmt"
	"strings"
)

// maxBrackets bounds the nesting of brackets, and with it the recursion of
// every parser of expressions.
const maxBrackets = 64

// rewriter rewrites the source of a template: its expressions (inline.go), and
// the white space that trim_blocks and lstrip_blocks remove, of which the
// library takes too much. Tags it cannot make sense of are left for the library
// to report.
type rewriter struct {
	out       strings.Builder
	lineStart bool // what is rewritten next begins a line
}

func rewriteTemplate(src string) (string, error) {
	r := &rewriter{lineStart: true}
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	for {
		open := nextTag(src)
		if open < 0 {
			r.out.WriteString(src)
			return r.out.String(), nil
		}
		r.text(src[:open], src[open:])
		n, err := r.tag(src[open:])
		if err != nil {
			return "", err
		}
		src = src[open+n:]
	}
}

// nextTag is where the next {{, {% or {# is.
func nextTag(src string) int {
	for at := 0; at+1 < len(src); at++ {
		if src[at] == '{' && strings.IndexByte("{%#", src[at+1]) >= 0 {
			return at
		}
	}
	return -1
}

// text writes what comes before a tag: without the indentation of a statement
// or comment that begins its line (lstrip_blocks).
func (r *rewriter) text(text, tag string) {
	line := strings.LastIndexByte(text, '\n') + 1
	plain := len(tag) < 3 || tag[2] != '-' && tag[2] != '+'
	if tag[1] != '{' && plain && (line > 0 || r.lineStart) && strings.Trim(text[line:], " \t") == "" {
		text = text[:line]
	}
	r.out.WriteString(text)
}

// tag writes the tag src begins with, and gives how much of src it took.
func (r *rewriter) tag(src string) (int, error) {
	r.lineStart = false
	if src[1] == '#' {
		return r.comment(src), nil
	}
	t, err := scanTag(src)
	if err != nil {
		return 0, err
	}
	root := &bracket{}
	if t.length < 0 || len(root.fill(t.tokens)) > 0 { // no end, or a bracket too many
		r.out.WriteString(src)
		return len(src), nil
	}
	r.out.WriteString(src[:2] + minus(t.lead))
	switch t.name {
	case "raw":
		return r.raw(src, t), nil
	case "for", "if", "elif": // an "if" of theirs is no conditional expression
		root.writePlain(&r.out)
	default:
		root.write(&r.out)
	}
	r.out.WriteString(minus(t.trail) + src[t.length-2:t.length])
	return t.length + r.trimNewline(src[t.length:], src[1] == '%' && t.trail == ""), nil
}

// minus is the sign the library understands of one that "+" may be.
func minus(sign string) string { return strings.TrimPrefix(sign, "+") }

// trimNewline gives 1 where a newline after a tag is to be left out
// (trim_blocks), else 0.
func (r *rewriter) trimNewline(rest string, trims bool) int {
	if !trims || !strings.HasPrefix(rest, "\n") {
		return 0
	}
	r.lineStart = true
	return 1
}

// comment leaves a comment out, but for its say on white space.
func (r *rewriter) comment(src string) int {
	n := strings.Index(src[2:], "#}") + 4
	if n < 4 {
		r.out.WriteString(src)
		return len(src)
	}
	body := src[2 : n-2]
	lead, trail := "", ""
	if strings.HasPrefix(body, "-") {
		lead = "-"
	}
	if strings.HasSuffix(body, "-") {
		trail = "-"
	}
	r.out.WriteString("{#" + lead + " " + trail + "#}")
	return n + r.trimNewline(src[n:], trail == "" && !strings.HasSuffix(body, "+"))
}

// raw writes a raw block as it is.
func (r *rewriter) raw(src string, t tag) int {
	r.out.WriteString(src[2+len(t.lead) : t.length])
	rest := src[t.length:]
	end := strings.Index(rest, "endraw")
	if end < 0 {
		r.out.WriteString(rest)
		return len(src)
	}
	if n := strings.Index(rest[end:], "%}"); n >= 0 {
		end += n + 2
	}
	r.out.WriteString(rest[:end])
	return t.length + end + r.trimNewline(rest[end:], true)
}

// tag is a tag cut into tokens.
type tag struct {
	lead, trail string // "-", "+" or "": what becomes of the white space around
	name        string // of a statement; "" for an expression
	tokens      []string
	length      int // in the source; -1: it has no end
}

func firstWord(tokens []string) string {
	for _, token := range tokens {
		if isWordByte(token[0]) {
			return token
		}
	}
	return ""
}

// scanTag cuts the tag src begins with into tokens: strings, words and numbers,
// runs of white space, comparisons, and other bytes.
func scanTag(src string) (tag, error) {
	end := map[byte]string{'{': "}}", '%': "%}"}[src[1]]
	t := tag{length: -1}
	depth := 0
	for at := 2; at < len(src); {
		if depth == 0 && strings.HasPrefix(src[at:], end) {
			t.length = at + 2
			break
		}
		token := src[at : at+tokenLength(src[at:])]
		at += len(token)
		t.tokens = append(t.tokens, token)
		switch token {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		}
		if depth > maxBrackets {
			return tag{}, fmt.Errorf("brackets nested more than %d deep", maxBrackets)
		}
	}
	t.takeSigns()
	if src[1] == '%' {
		t.name = firstWord(t.tokens)
	}
	return t, nil
}

// takeSigns takes the signs right at the ends off the tokens.
func (t *tag) takeSigns() {
	if n := len(t.tokens); n > 0 && isSign(t.tokens[0]) {
		t.lead, t.tokens = t.tokens[0], t.tokens[1:]
	}
	if n := len(t.tokens); n > 0 && isSign(t.tokens[n-1]) {
		t.trail, t.tokens = t.tokens[n-1], t.tokens[:n-1]
	}
}

func isSign(token string) bool { return token == "-" || token == "+" }

func tokenLength(s string) int {
	switch c := s[0]; {
	case c == '"' || c == '\'':
		return stringLength(s)
	case isSpaceByte(c):
		return prefixLength(s, isSpaceByte)
	case isWordByte(c):
		return prefixLength(s, isWordByte)
	case strings.HasPrefix(s, "==") || strings.HasPrefix(s, "!=") || strings.HasPrefix(s, "<=") || strings.HasPrefix(s, ">="):
		return 2
	}
	return 1
}

func prefixLength(s string, is func(byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}

func isSpaceByte(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

func stringLength(s string) int {
	for at := 1; at < len(s); at++ {
		switch s[at] {
		case '\\':
			at++
		case s[0]:
			return at + 1
		}
	}
	return len(s)
}
