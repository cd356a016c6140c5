package text

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// templateFilters are the library's filters, with those replaced that lose the
// order of keys, cut characters in half or differ from Python in what they
// return. Those that build lists have their result made native, so that what
// is done with it next compares and prints as in Python.
func templateFilters() *exec.FilterSet {
	own := map[string]exec.FilterFunction{
		"tojson":   filterToJSON,
		"items":    filter(itemsOf),
		"list":     filter(func(v any, _ *exec.VarArgs) (any, error) { return elements(v) }),
		"reverse":  filter(reversed),
		"dictsort": filter(dictsort),
		"trim":     filter(trimmed),
		"string":   filter(func(v any, _ *exec.VarArgs) (any, error) { return str(v), nil }),
	}
	set := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters)
	for _, name := range []string{"map", "select", "selectattr", "reject", "rejectattr", "sort", "unique", "batch", "slice", "groupby"} {
		if inner, ok := builtins.Filters.Get(name); ok {
			own[name] = nativeResult(inner)
		}
	}
	return set.Update(exec.NewFilterSet(own))
}

// filter adapts a function of native values.
func filter(f func(v any, params *exec.VarArgs) (any, error)) exec.FilterFunction {
	return func(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		if in.IsError() {
			return in
		}
		out, err := f(native(in), params)
		if err != nil {
			return exec.AsValue(err)
		}
		return exec.AsValue(out)
	}
}

func nativeResult(inner exec.FilterFunction) exec.FilterFunction {
	return func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		out := inner(e, in, params)
		if out.IsError() {
			return out
		}
		return exec.AsValue(native(out))
	}
}

// elements are what Python iterates over: the items of a list, the keys of a
// dict, the characters of a string.
func elements(v any) (list, error) {
	switch x := v.(type) {
	case nil:
		return list{}, nil
	case list:
		return x, nil
	case dict:
		return toList(x.keys()), nil
	case string:
		return toList(strings.Split(x, "")), nil
	}
	return nil, fmt.Errorf("%s cannot be iterated over", repr(v))
}

func toList(items []string) list {
	out := make(list, len(items))
	for i, s := range items {
		out[i] = s
	}
	return out
}

// itemsOf is dict.items: the pairs in order.
func itemsOf(v any, _ *exec.VarArgs) (any, error) {
	d, ok := v.(dict)
	if v == nil {
		return list{}, nil
	}
	if !ok {
		return nil, fmt.Errorf("items: %s is no mapping", repr(v))
	}
	out := list{}
	for _, key := range d.keys() {
		out = append(out, list{key, d[key].value})
	}
	return out, nil
}

func reversed(v any, _ *exec.VarArgs) (any, error) {
	items, err := elements(v)
	if err != nil {
		return nil, err
	}
	items = slices.Clone(items)
	slices.Reverse(items)
	if _, ok := v.(string); !ok {
		return items, nil
	}
	var out strings.Builder
	for _, char := range items {
		out.WriteString(char.(string))
	}
	return out.String(), nil
}

// dictsort gives the pairs ordered by key, without regard to case.
func dictsort(v any, params *exec.VarArgs) (any, error) {
	if len(params.Args)+len(params.KwArgs) > 0 {
		return nil, fmt.Errorf("dictsort: arguments are not supported")
	}
	pairs, err := itemsOf(v, params)
	if err != nil {
		return nil, err
	}
	out := pairs.(list)
	sort.SliceStable(out, func(i, j int) bool {
		return strings.ToLower(out[i].(list)[0].(string)) < strings.ToLower(out[j].(list)[0].(string))
	})
	return out, nil
}

func trimmed(v any, params *exec.VarArgs) (any, error) {
	if v == nil {
		return "", nil
	}
	var chars any
	if len(params.Args) > 0 {
		chars = native(params.Args[0])
	} else if arg, ok := params.KwArgs["chars"]; ok {
		chars = native(arg)
	}
	return strip(str(v), chars, true, true)
}

// templateTests are the library's tests, with those replaced that differ from
// Python.
func templateTests() *exec.TestSet {
	own := map[string]exec.TestFunction{
		"true":     test(func(v any) bool { return v == true }),
		"false":    test(func(v any) bool { return v == false }),
		"sequence": test(isSequence),
	}
	return exec.NewTestSet(map[string]exec.TestFunction{}).Update(builtins.Tests).Update(exec.NewTestSet(own))
}

func test(f func(v any) bool) exec.TestFunction {
	return func(_ *exec.Context, in *exec.Value, _ *exec.VarArgs) (bool, error) {
		return f(native(in)), nil
	}
}

func isSequence(v any) bool {
	switch v.(type) {
	case list, dict, string:
		return true
	}
	return false
}
