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
	body, condition, last := items[:is], items[is+1:], []item{{token: "''"}}
	if otherwise >= 0 {
		condition, last = items[is+1:is+otherwise], items[is+otherwise+1:]
	}
	out.WriteString(" ((((")
	writeItems(out, condition)
	out.WriteString(") and [")
	writeItems(out, body)
	out.WriteString("]) or [")
	writeConditional(out, last)
	out.WriteString("])[0]) ")
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
