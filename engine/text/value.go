package text

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// maxValueDepth bounds the nesting of values templates are given or build.
const maxValueDepth = 200

// Values in templates are what Python would have: nil, bool, int (uint64 where
// that is too small), float64, string, list and dict. A dict keeps the order
// of its keys, which JSON written into a prompt must have.
type (
	list []any
	dict map[string]entry
)

// entry is a value of a dict and the place of its key.
type entry struct {
	index int
	value any
}

func (d dict) set(key string, value any) {
	index := len(d)
	if old, ok := d[key]; ok {
		index = old.index
	}
	d[key] = entry{index, value}
}

func (d dict) keys() []string {
	keys := make([]string, len(d))
	for key, e := range d {
		keys[e.index] = key
	}
	return keys
}

// GetItem makes d[key] and, where there is no method, d.key work in templates.
func (d dict) GetItem(key any) (*exec.Value, bool) {
	name, ok := key.(string)
	if !ok {
		return exec.AsValue(nil), false
	}
	e, ok := d[name]
	return exec.AsValue(e.value), ok
}

// GetAttribute keeps Go's methods out of templates.
func (d dict) GetAttribute(string) (*exec.Value, bool) { return exec.AsValue(nil), false }

// String is Python's repr.
func (d dict) String() string { return repr(d) }

// String is Python's repr.
func (l list) String() string { return repr(l) }

// decodeValue reads one JSON value.
func decodeValue(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeNext(d, 0)
	if err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return v, nil
}

func decodeNext(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		return number(t)
	case json.Delim:
		if depth >= maxValueDepth {
			return nil, fmt.Errorf("JSON nested more than %d deep", maxValueDepth)
		}
		if t == '[' {
			return decodeList(d, depth)
		}
		return decodeDict(d, depth)
	}
	return token, nil
}

func decodeList(d *json.Decoder, depth int) (any, error) {
	l := list{}
	for d.More() {
		v, err := decodeNext(d, depth+1)
		if err != nil {
			return nil, err
		}
		l = append(l, v)
	}
	_, err := d.Token()
	return l, err
}

func decodeDict(d *json.Decoder, depth int) (any, error) {
	out := dict{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		v, err := decodeNext(d, depth+1)
		if err != nil {
			return nil, err
		}
		out.set(key.(string), v)
	}
	_, err := d.Token()
	return out, err
}

func number(n json.Number) (any, error) {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return int(i), nil
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return u, nil
	}
	return n.Float64()
}

// native gives v as one of the kinds above, whatever the template library made
// it of.
func native(v *exec.Value) any { return nativeAt(v, 0) }

func nativeAt(v *exec.Value, depth int) any {
	if v == nil || v.IsNil() || depth > maxValueDepth {
		return nil
	}
	switch x := v.Interface().(type) {
	case dict, list, string, bool, int, float64, uint64:
		return x
	case *exec.Dict:
		out := dict{}
		for _, pair := range x.Pairs {
			out.set(pair.Key.String(), nativeAt(pair.Value, depth+1))
		}
		return out
	}
	switch val := v.Val; val.Kind() {
	case reflect.Slice, reflect.Array:
		out := make(list, val.Len())
		for i := range out {
			out[i] = nativeAt(exec.ToValue(val.Index(i)), depth+1)
		}
		return out
	case reflect.Map:
		return nativeMap(val, depth)
	}
	return nativeScalar(v)
}

func nativeMap(val reflect.Value, depth int) any {
	keys := val.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return fmt.Sprint(keys[i]) < fmt.Sprint(keys[j]) })
	out := dict{}
	for _, key := range keys {
		out.set(fmt.Sprint(key), nativeAt(exec.ToValue(val.MapIndex(key)), depth+1))
	}
	return out
}

func nativeScalar(v *exec.Value) any {
	switch {
	case v.IsBool():
		return v.Bool()
	case v.IsInteger():
		return v.Integer()
	case v.IsFloat():
		return v.Float()
	}
	return v.String()
}

// repr writes a native value as Python's repr does.
func repr(v any) string {
	var out strings.Builder
	writeRepr(&out, v)
	return out.String()
}

func writeRepr(out *strings.Builder, v any) {
	switch x := v.(type) {
	case string:
		writeQuoted(out, x)
	case list:
		out.WriteByte('[')
		for i, item := range x {
			if i > 0 {
				out.WriteString(", ")
			}
			writeRepr(out, item)
		}
		out.WriteByte(']')
	case dict:
		out.WriteByte('{')
		for i, key := range x.keys() {
			if i > 0 {
				out.WriteString(", ")
			}
			writeQuoted(out, key)
			out.WriteString(": ")
			writeRepr(out, x[key].value)
		}
		out.WriteByte('}')
	default:
		out.WriteString(str(v))
	}
}

// str writes a native value as Python's str does.
func str(v any) string {
	switch x := v.(type) {
	case nil:
		return "None"
	case bool:
		if x {
			return "True"
		}
		return "False"
	case float64:
		return floatRepr(x)
	case string:
		return x
	}
	return fmt.Sprint(v)
}

// writeQuoted writes a Python string literal: in single quotes, unless only
// those occur in it.
func writeQuoted(out *strings.Builder, s string) {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	out.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == 0xAD || r > 0xFFFF && !strconv.IsPrint(r):
			fmt.Fprintf(out, `\U%08x`, r)
		case strconv.IsPrint(r):
			out.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(out, `\x%02x`, r)
		default:
			fmt.Fprintf(out, `\u%04x`, r)
		}
	}
	out.WriteRune(quote)
}

// floatRepr writes the shortest decimal that reads back as f, with an exponent
// where Python writes one: below 1e-4 and from 1e16.
func floatRepr(f float64) string {
	s := strconv.FormatFloat(f, 'e', -1, 64)
	switch s {
	case "NaN":
		return "nan"
	case "+Inf":
		return "inf"
	case "-Inf":
		return "-inf"
	}
	_, exponent, _ := strings.Cut(s, "e")
	if exp, err := strconv.Atoi(exponent); err == nil && (exp < -4 || exp >= 16) {
		return s
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
