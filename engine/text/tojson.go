package text

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf16"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// maxIndent bounds the spaces of one level of indented JSON.
const maxIndent = 32

// jsonStyle is how tojson writes: as transformers sets Python's json.dumps up.
type jsonStyle struct {
	pretty   bool   // each item on a line of its own
	indent   string // of one level
	item     string // between items
	key      string // between key and value
	sortKeys bool
	ascii    bool
}

// filterToJSON is transformers' tojson filter.
func filterToJSON(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	style, err := parseJSONStyle(params)
	if err != nil {
		return exec.AsValue(fmt.Errorf("tojson: %w", err))
	}
	var out strings.Builder
	style.write(&out, native(in), 0)
	return exec.AsSafeValue(out.String())
}

func parseJSONStyle(params *exec.VarArgs) (jsonStyle, error) {
	style := jsonStyle{item: ", ", key: ": "}
	args := map[string]any{}
	for i, arg := range params.Args {
		names := [...]string{"ensure_ascii", "indent", "separators", "sort_keys"}
		if i >= len(names) {
			return style, fmt.Errorf("%d arguments, want at most %d", len(params.Args), len(names))
		}
		args[names[i]] = native(arg)
	}
	for name, arg := range params.KwArgs {
		args[name] = native(arg)
	}
	if err := style.setIndent(args["indent"]); err != nil {
		return style, err
	}
	for name, value := range args {
		switch name {
		case "indent":
		case "ensure_ascii":
			style.ascii = value == true
		case "sort_keys":
			style.sortKeys = value == true
		case "separators":
			if err := style.setSeparators(value); err != nil {
				return style, err
			}
		default:
			return style, fmt.Errorf("no argument is named %q", name)
		}
	}
	return style, nil
}

func (s *jsonStyle) setIndent(v any) error {
	switch indent := v.(type) {
	case nil:
		return nil
	case int:
		s.indent = strings.Repeat(" ", min(max(indent, 0), maxIndent))
	case string:
		s.indent = indent[:min(len(indent), maxIndent)]
	default:
		return fmt.Errorf("indent is %s, want a number or a string", repr(v))
	}
	s.pretty, s.item = true, ","
	return nil
}

func (s *jsonStyle) setSeparators(v any) error {
	pair, ok := v.(list)
	if v == nil {
		return nil
	}
	if !ok || len(pair) != 2 {
		return fmt.Errorf("separators is %s, want two strings", repr(v))
	}
	s.item, s.key = str(pair[0]), str(pair[1])
	return nil
}

func (s jsonStyle) write(out *strings.Builder, v any, depth int) {
	switch x := v.(type) {
	case nil:
		out.WriteString("null")
	case bool:
		out.WriteString(strings.ToLower(str(x)))
	case string:
		s.quote(out, x)
	case list:
		s.writeAll(out, "[]", len(x), depth, func(i int) { s.write(out, x[i], depth+1) })
	case dict:
		keys := x.keys()
		if s.sortKeys {
			sort.Strings(keys)
		}
		s.writeAll(out, "{}", len(keys), depth, func(i int) {
			s.quote(out, keys[i])
			out.WriteString(s.key)
			s.write(out, x[keys[i]].value, depth+1)
		})
	case float64:
		out.WriteString(jsonFloat(x))
	default:
		out.WriteString(str(v))
	}
}

// jsonFloat is floatRepr, but for the names json.dumps has of its own.
func jsonFloat(f float64) string {
	switch s := floatRepr(f); s {
	case "nan":
		return "NaN"
	case "inf":
		return "Infinity"
	case "-inf":
		return "-Infinity"
	default:
		return s
	}
}

func (s jsonStyle) writeAll(out *strings.Builder, brackets string, n, depth int, item func(int)) {
	out.WriteByte(brackets[0])
	for i := range n {
		if i > 0 {
			out.WriteString(s.item)
		}
		s.newline(out, depth+1)
		item(i)
	}
	if n > 0 {
		s.newline(out, depth)
	}
	out.WriteByte(brackets[1])
}

func (s jsonStyle) newline(out *strings.Builder, depth int) {
	if s.pretty {
		out.WriteByte('\n')
		out.WriteString(strings.Repeat(s.indent, depth))
	}
}

func (s jsonStyle) quote(out *strings.Builder, text string) {
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\b':
			out.WriteString(`\b`)
		case r == '\f':
			out.WriteString(`\f`)
		case r < 0x20 || s.ascii && r >= 0x7F && r <= 0xFFFF:
			fmt.Fprintf(out, `\u%04x`, r)
		case s.ascii && r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(out, `\u%04x\u%04x`, high, low)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
}
