package text

import (
	"fmt"
	"strings"
)

// The template library cannot parse a conditional expression inside brackets
// or call a method of what is in parentheses, and takes the last item of a list
// of one for missing. These are rewritten in the source to what it does right:
//
//	(a if b else c)  ->  ((((b) and [a]) or [c])[0])
//	(a ~ b).strip()  ->  [(a ~ b)][0].strip()
//	x[-1], x[-2]     ->  x[-1:][0], x[-2:-1][0]
//
// "and" and "or" give their operands and are lazy, and a list of one item is
// true, so the first is exact; an index past the start gives an empty slice
// and so an undefined item, as it should.

// maxBrackets bounds the nesting of brackets, and with it the recursion of
// every parser of expressions.
const maxBrackets = 64

// rewriteExpressions rewrites all expressions of a template. Source it cannot
// make sense of is left for the library to report.
func rewriteExpressions(src string) (string, error) {
	var out strings.Builder
	for len(src) > 0 {
		open := nextTag(src)
		if open < 0 {
			break
		}
		out.WriteString(src[:open])
		src = src[open:]
		n, err := rewriteTag(&out, src)
		if err != nil {
			return "", err
		}
		src = src[n:]
	}
	out.WriteString(src)
	return out.String(), nil
}

// nextTag is where the next {{, {% or {# is.
func nextTag(src string) int {
	for at := 0; at+1 < len(src); at++ {
		if src[at] == '{' && (src[at+1] == '{' || src[at+1] == '%' || src[at+1] == '#') {
			return at
		}
	}
	return -1
}

// rewriteTag writes the tag src begins with, and gives its length in src.
func rewriteTag(out *strings.Builder, src string) (int, error) {
	if src[1] == '#' {
		return copyUntil(out, src, "#}"), nil
	}
	tokens, n, err := scanTag(src)
	if err != nil {
		return 0, err
	}
	if n < 0 {
		out.WriteString(src)
		return len(src), nil
	}
	name := ""
	if first := firstWord(tokens); src[1] == '%' {
		name = first
	}
	root := &bracket{}
	if rest := root.fill(tokens); len(rest) > 0 { // a bracket too many
		out.WriteString(src[:n])
		return n, nil
	}
	out.WriteString(src[:2])
	switch name {
	case "for", "if", "elif":
		root.writePlain(out)
	default:
		root.write(out)
	}
	out.WriteString(src[n-2 : n])
	if name == "raw" {
		n += copyUntil(out, src[n:], "endraw")
	}
	return n, nil
}

func copyUntil(out *strings.Builder, src, end string) int {
	n := strings.Index(src, end)
	if n < 0 {
		n = len(src)
	} else {
		n += len(end)
	}
	out.WriteString(src[:n])
	return n
}

// scanTag cuts the inside of the tag src begins with into tokens: strings,
// words and numbers, runs of white space, comparisons, and other bytes. n is the
// length of the tag with its end, -1 when that is missing.
func scanTag(src string) (tokens []string, n int, err error) {
	end := map[byte]string{'{': "}}", '%': "%}"}[src[1]]
	depth := 0
	for at := 2; at < len(src); {
		if depth == 0 && strings.HasPrefix(src[at:], end) {
			return tokens, at + 2, nil
		}
		size := tokenLength(src[at:])
		token := src[at : at+size]
		tokens = append(tokens, token)
		at += size
		switch token {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		}
		if depth > maxBrackets {
			return nil, 0, fmt.Errorf("brackets nested more than %d deep", maxBrackets)
		}
	}
	return nil, -1, nil
}

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

func firstWord(tokens []string) string {
	for _, token := range tokens {
		if isWordByte(token[0]) {
			return token
		}
	}
	return ""
}

// bracket is a pair of brackets with what it holds; the root has none.
type bracket struct {
	open, end string
	items     []item
}

// item is a token, or a bracket.
type item struct {
	token string
	inner *bracket
}

// fill takes tokens up to the end of the bracket and gives those after it.
func (b *bracket) fill(tokens []string) []string {
	for len(tokens) > 0 {
		token := tokens[0]
		tokens = tokens[1:]
		switch token {
		case "(", "[", "{":
			inner := &bracket{open: token}
			tokens = inner.fill(tokens)
			b.items = append(b.items, item{inner: inner})
		case ")", "]", "}":
			if b.open == "" {
				return append([]string{token}, tokens...)
			}
			b.end = token
			return tokens
		default:
			b.items = append(b.items, item{token: token})
		}
	}
	return nil
}

// writePlain writes a bracket of which only inner ones may hold conditionals.
func (b *bracket) writePlain(out *strings.Builder) {
	out.WriteString(b.open)
	writeItems(out, b.items)
	out.WriteString(b.end)
}

// write writes a bracket, expression by expression.
func (b *bracket) write(out *strings.Builder) {
	out.WriteString(b.open)
	start := 0
	for i := range b.items {
		switch b.items[i].token {
		case ",", ":", "=":
			writeConditional(out, b.items[start:i])
			out.WriteString(b.items[i].token)
			start = i + 1
		}
	}
	writeConditional(out, b.items[start:])
	out.WriteString(b.end)
}

// writeConditional writes one expression.
func writeConditional(out *strings.Builder, items []item) {
	is, otherwise := findWord(items, "if"), -1
	if is >= 0 {
		otherwise = findWord(items[is:], "else")
	}
	if is < 0 {
		writeItems(out, items)
		return
	}
	lead, body := leadingSign(items[:is])
	writeItems(out, lead)
	condition, last := items[is+1:], []item{{token: "''"}}
	if otherwise >= 0 {
		condition, last = items[is+1:is+otherwise], items[is+otherwise+1:]
	}
	last, trail := trailingSign(last)
	out.WriteString(" ((((")
	writeItems(out, condition)
	out.WriteString(") and [")
	writeItems(out, body)
	out.WriteString("]) or [")
	writeConditional(out, last)
	out.WriteString("])[0]) ")
	writeItems(out, trail)
}

// leadingSign splits off the "-" or "+" right at the beginning of a tag, which
// says what becomes of the white space before it.
func leadingSign(items []item) (sign, rest []item) {
	if len(items) > 1 && (items[0].token == "-" || items[0].token == "+") && isSpaceToken(items[1].token) {
		return items[:1], items[1:]
	}
	return nil, items
}

// trailingSign splits off the "-" or "+" right at the end of a tag.
func trailingSign(items []item) (rest, sign []item) {
	if n := len(items) - 1; n >= 0 && (items[n].token == "-" || items[n].token == "+") {
		return items[:n], items[n:]
	}
	return items, nil
}

func isSpaceToken(token string) bool { return token != "" && isSpaceByte(token[0]) }

func findWord(items []item, word string) int {
	for i := range items {
		if items[i].token == word {
			return i
		}
	}
	return -1
}

// writeItems writes items as they are, but for negative indices and for what
// is in brackets.
func writeItems(out *strings.Builder, items []item) {
	var before string // the last token that is not white space
	for i := range items {
		inner := items[i].inner
		if inner == nil {
			out.WriteString(items[i].token)
			if !isSpaceToken(items[i].token) {
				before = items[i].token
			}
			continue
		}
		n, negative := inner.negativeIndex()
		switch {
		case negative && endsOperand(before):
			writeNegativeIndex(out, n)
		case inner.open == "(" && !endsOperand(before) && i+1 < len(items) && items[i+1].token == ".":
			out.WriteString("[")
			inner.write(out)
			out.WriteString("][0]")
		default:
			inner.write(out)
		}
		before = inner.end
	}
}

func endsOperand(token string) bool {
	if token == "" {
		return false
	}
	last := token[len(token)-1]
	switch token {
	case "in", "and", "or", "not", "is", "if", "else":
		return false
	}
	return isWordByte(last) || strings.IndexByte(`)]}"'`, last) >= 0
}

// negativeIndex reads a bracket that holds -1 to -9.
func (b *bracket) negativeIndex() (n int, ok bool) {
	if b.open != "[" || len(b.items) != 2 || b.items[0].token != "-" {
		return 0, false
	}
	digit := b.items[1].token
	if len(digit) != 1 || digit[0] < '1' || digit[0] > '9' {
		return 0, false
	}
	return int(digit[0] - '0'), true
}

func writeNegativeIndex(out *strings.Builder, n int) {
	if n == 1 {
		out.WriteString("[-1:][0]")
		return
	}
	fmt.Fprintf(out, "[-%d:-%d][0]", n, n-1)
}
