package text

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// templateMethods are Python's methods of strings, dicts and lists. Those that
// change their object are missing, as in transformers' sandbox.
func templateMethods() exec.Methods {
	methods := builtins.Methods
	methods.Str = stringMethods()
	methods.Dict = exec.NewMethodSet(map[string]exec.Method[map[string]any]{
		"items":  dictMethod(itemsOf),
		"keys":   dictMethod(func(v any, _ *exec.VarArgs) (any, error) { return elements(v) }),
		"values": dictMethod(valuesOf),
		"get":    dictMethod(dictGet),
		"copy":   dictMethod(func(v any, _ *exec.VarArgs) (any, error) { return v, nil }),
	})
	methods.List = exec.NewMethodSet(map[string]exec.Method[[]any]{
		"count": listCount,
		"copy":  func(_ []any, self *exec.Value, _ *exec.VarArgs) (any, error) { return native(self), nil },
	})
	return methods
}

func dictMethod(f func(any, *exec.VarArgs) (any, error)) exec.Method[map[string]any] {
	return func(_ map[string]any, self *exec.Value, params *exec.VarArgs) (any, error) {
		return f(native(self), params)
	}
}

func valuesOf(v any, params *exec.VarArgs) (any, error) {
	pairs, err := itemsOf(v, params)
	if err != nil {
		return nil, err
	}
	out := list{}
	for _, pair := range pairs.(list) {
		out = append(out, pair.(list)[1])
	}
	return out, nil
}

func dictGet(v any, params *exec.VarArgs) (any, error) {
	args := nativeArgs(params)
	if len(args) < 1 || len(args) > 2 {
		return nil, fmt.Errorf("get: %d arguments, want 1 or 2", len(args))
	}
	key, isString := args[0].(string)
	if e, ok := v.(dict)[key]; ok && isString {
		return e.value, nil
	}
	if len(args) == 2 {
		return args[1], nil
	}
	return nil, nil
}

func listCount(_ []any, self *exec.Value, params *exec.VarArgs) (any, error) {
	if len(params.Args) != 1 {
		return nil, fmt.Errorf("count: %d arguments, want 1", len(params.Args))
	}
	want, n := repr(native(params.Args[0])), 0
	for _, item := range native(self).(list) {
		if repr(item) == want {
			n++
		}
	}
	return n, nil
}

func nativeArgs(params *exec.VarArgs) []any {
	out := make([]any, len(params.Args))
	for i, arg := range params.Args {
		out[i] = native(arg)
	}
	return out
}

// stringMethods replaces the methods templates use most, which the library has
// wrong in places (strip's default, split's limit), and makes the results of
// all others plain strings: its own string type compares unequal to one.
func stringMethods() *exec.MethodSet[string] {
	set := map[string]exec.Method[string]{}
	for _, name := range []string{
		"capitalize", "casefold", "find", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "islower", "isnumeric",
		"isspace", "istitle", "isupper", "join", "lower", "partition", "removeprefix", "removesuffix", "rfind",
		"rpartition", "splitlines", "swapcase", "title", "upper", "zfill",
	} {
		if inner, ok := builtins.Methods.Str.Get(name); ok {
			set[name] = func(s string, self *exec.Value, params *exec.VarArgs) (any, error) {
				out, err := inner(s, self, params)
				return native(exec.AsValue(out)), err
			}
		}
	}
	for name, m := range map[string]stringMethod{
		"strip":      {[]string{"chars"}, stripMethod(true, true)},
		"lstrip":     {[]string{"chars"}, stripMethod(true, false)},
		"rstrip":     {[]string{"chars"}, stripMethod(false, true)},
		"split":      {[]string{"sep", "maxsplit"}, func(s string, args []any) (any, error) { return split(s, args, false) }},
		"rsplit":     {[]string{"sep", "maxsplit"}, func(s string, args []any) (any, error) { return split(s, args, true) }},
		"startswith": {[]string{"prefix"}, func(s string, args []any) (any, error) { return affix(s, args[0], strings.HasPrefix) }},
		"endswith":   {[]string{"suffix"}, func(s string, args []any) (any, error) { return affix(s, args[0], strings.HasSuffix) }},
		"replace":    {[]string{"old", "new", "count"}, replaceString},
		"count":      {[]string{"sub"}, countString},
	} {
		set[name] = m.method(name)
	}
	return exec.NewMethodSet(set)
}

// stringMethod is a method and its parameters' names; it gets an argument for
// each, nil where none is given.
type stringMethod struct {
	params []string
	call   func(s string, args []any) (any, error)
}

func (m stringMethod) method(name string) exec.Method[string] {
	return func(s string, _ *exec.Value, params *exec.VarArgs) (any, error) {
		if len(params.Args) > len(m.params) {
			return nil, fmt.Errorf("%s: %d arguments, want at most %d", name, len(params.Args), len(m.params))
		}
		args := make([]any, len(m.params))
		copy(args, nativeArgs(params))
		for key, value := range params.KwArgs {
			at := slices.Index(m.params, key)
			if at < len(params.Args) {
				return nil, fmt.Errorf("%s: unexpected argument %q", name, key)
			}
			args[at] = native(value)
		}
		out, err := m.call(s, args)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return out, nil
	}
}

func stripMethod(left, right bool) func(string, []any) (any, error) {
	return func(s string, args []any) (any, error) { return strip(s, args[0], left, right) }
}

// strip removes the characters of chars, white space when nil, from the ends.
func strip(s string, chars any, left, right bool) (any, error) {
	cut := isPythonSpace
	switch set := chars.(type) {
	case nil:
	case string:
		cut = func(r rune) bool { return strings.ContainsRune(set, r) }
	default:
		return nil, fmt.Errorf("characters are %s, want a string", repr(chars))
	}
	if left {
		s = strings.TrimLeftFunc(s, cut)
	}
	if right {
		s = strings.TrimRightFunc(s, cut)
	}
	return s, nil
}

// isPythonSpace is str.isspace: Unicode's white space and the four separators
// of ASCII.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1C && r <= 0x1F }

// split is str.split and, from the right, str.rsplit.
func split(s string, args []any, right bool) (any, error) {
	sep, limit, err := splitArgs(args)
	if err != nil {
		return nil, err
	}
	var out []string
	for limit < 0 || len(out) < limit {
		var head, rest string
		var ok bool
		if s, head, rest, ok = cutOnce(s, sep, right); !ok {
			break
		}
		out, s = append(out, head), rest
	}
	if sep == "" {
		s = trimSide(s, right)
	}
	if sep != "" || s != "" {
		out = append(out, s)
	}
	result := toList(out)
	if right {
		slices.Reverse(result)
	}
	return result, nil
}

func splitArgs(args []any) (sep string, limit int, err error) {
	limit = -1
	if args[0] != nil {
		var ok bool
		if sep, ok = args[0].(string); !ok || sep == "" {
			return "", 0, fmt.Errorf("separator is %s, want a string that is not empty", repr(args[0]))
		}
	}
	if args[1] != nil {
		var ok bool
		if limit, ok = args[1].(int); !ok {
			return "", 0, fmt.Errorf("limit is %s, want a number", repr(args[1]))
		}
	}
	return sep, limit, nil
}

// cutOnce cuts s at its first separator (last, from the right); no separator
// means a run of white space, none of it at the end s is cut from.
func cutOnce(s, sep string, right bool) (whole, head, rest string, ok bool) {
	if sep == "" {
		return cutSpace(trimSide(s, right), right)
	}
	if right {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			return s, "", "", false
		}
		return s, s[i+len(sep):], s[:i], true
	}
	head, rest, ok = strings.Cut(s, sep)
	return s, head, rest, ok
}

func trimSide(s string, right bool) string {
	if right {
		return strings.TrimRightFunc(s, isPythonSpace)
	}
	return strings.TrimLeftFunc(s, isPythonSpace)
}

func cutSpace(s string, right bool) (whole, head, rest string, ok bool) {
	if right {
		i := strings.LastIndexFunc(s, isPythonSpace)
		if i < 0 {
			return s, "", "", false
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		return s, s[i+n:], trimSide(s[:i], true), true
	}
	i := strings.IndexFunc(s, isPythonSpace)
	if i < 0 {
		return s, "", "", false
	}
	return s, s[:i], trimSide(s[i:], false), true
}

// affix is startswith and endswith, of one string or any of several.
func affix(s string, arg any, has func(s, affix string) bool) (any, error) {
	options, ok := arg.(list)
	if !ok {
		options = list{arg}
	}
	for _, option := range options {
		want, ok := option.(string)
		if !ok {
			return nil, fmt.Errorf("%s is no string", repr(option))
		}
		if has(s, want) {
			return true, nil
		}
	}
	return false, nil
}

func replaceString(s string, args []any) (any, error) {
	n := -1
	if args[2] != nil {
		var ok bool
		if n, ok = args[2].(int); !ok {
			return nil, fmt.Errorf("count is %s, want a number", repr(args[2]))
		}
	}
	old, okOld := args[0].(string)
	with, okWith := args[1].(string)
	if !okOld || !okWith {
		return nil, fmt.Errorf("%s and %s, want strings", repr(args[0]), repr(args[1]))
	}
	return strings.Replace(s, old, with, n), nil
}

func countString(s string, args []any) (any, error) {
	sub, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("%s is no string", repr(args[0]))
	}
	return strings.Count(s, sub), nil
}
