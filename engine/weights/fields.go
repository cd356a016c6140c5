package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxConfig is the most bytes of a JSON file with settings that are read.
const maxConfig = 16 << 20

// Fields is a JSON object with settings, read field by field. A field that is
// null counts as absent. The first thing that is wrong is kept, naming the file
// and the field, for Err; reads after it return their defaults, so a caller
// checks once, after the last read it needs.
type Fields struct {
	where string // file, and the way to an inner object
	raw   map[string]json.RawMessage
	err   *error // shared with inner objects
}

// ReadFields reads a file of at most 16 MiB that is one JSON object.
func ReadFields(folder Folder, file string) (*Fields, error) {
	data, err := folder.Read(file, maxConfig)
	if err != nil {
		return nil, err
	}
	f := &Fields{where: folder.Path(file) + ": ", err: new(error)}
	if err := json.Unmarshal(data, &f.raw); err != nil {
		return nil, fmt.Errorf("%s: not a JSON object: %w", folder.Path(file), err)
	}
	return f, nil
}

// Err is the first thing that was wrong, or nil.
func (f *Fields) Err() error { return *f.err }

// Fail keeps an error about the file, unless there is one already.
func (f *Fields) Fail(format string, args ...any) {
	if *f.err == nil {
		*f.err = errors.New(f.where + fmt.Sprintf(format, args...))
	}
}

// Raw is the field's JSON text, nil where it is absent.
func (f *Fields) Raw(name string) json.RawMessage {
	raw := f.raw[name]
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// Has says whether the field is there and not null.
func (f *Fields) Has(name string) bool { return f.Raw(name) != nil }

// IsSet says whether the field has a value that asks for something: not absent,
// null, false, zero, or empty.
func (f *Fields) IsSet(name string) bool {
	var v any
	if raw := f.Raw(name); raw == nil || json.Unmarshal(raw, &v) != nil {
		return false
	}
	switch v := v.(type) {
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return v != false && v != 0.0 && v != ""
}

// Show is the field's value as messages write it.
func (f *Fields) Show(name string) string {
	raw := f.Raw(name)
	switch {
	case raw == nil:
		return "absent"
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[':
		var flat bytes.Buffer
		if json.Compact(&flat, raw) == nil && flat.Len() < 80 {
			return flat.String()
		}
		return "a list"
	case len(raw) > 80:
		return string(bytes.ToValidUTF8(raw[:80], nil)) + "..."
	}
	return string(raw)
}

// decode reads the field into v; want says in words what it should have been.
func (f *Fields) decode(name string, v any, want string) bool {
	raw := f.Raw(name)
	if raw == nil || f.Err() != nil {
		return false
	}
	if json.Unmarshal(raw, v) != nil {
		f.Fail("%s is %s, want %s", name, f.Show(name), want)
		return false
	}
	return true
}

// Int reads an integer between least and most, or fallback where it is absent.
func (f *Fields) Int(name string, fallback, least, most int) int {
	var v int
	if !f.decode(name, &v, "an integer") {
		return fallback
	}
	if v < least || v > most {
		f.Fail("%s is %d, want %d to %d", name, v, least, most)
		return fallback
	}
	return v
}

// NeedInt is Int for a field that must be there.
func (f *Fields) NeedInt(name string, least, most int) int {
	if !f.Has(name) {
		f.Fail("%s is missing", name)
	}
	return f.Int(name, least, least, most)
}

// Positive reads a finite number above zero, or fallback where it is absent.
func (f *Fields) Positive(name string, fallback float64) float64 {
	v := f.Number(name, fallback)
	if v <= 0 {
		f.Fail("%s is %v, want more than 0", name, v)
		return fallback
	}
	return v
}

// NeedPositive is Positive for a field that must be there.
func (f *Fields) NeedPositive(name string) float64 {
	if !f.Has(name) {
		f.Fail("%s is missing", name)
	}
	return f.Positive(name, 1)
}

// Number reads a finite number, or fallback where it is absent.
func (f *Fields) Number(name string, fallback float64) float64 {
	v := fallback
	f.decode(name, &v, "a number")
	return v
}

// Bool reads true or false, or fallback where the field is absent.
func (f *Fields) Bool(name string, fallback bool) bool {
	v := fallback
	f.decode(name, &v, "true or false")
	return v
}

// Text reads a string, or fallback where the field is absent.
func (f *Fields) Text(name, fallback string) string {
	v := fallback
	f.decode(name, &v, "a string")
	return v
}

// Texts reads a list of at most most strings, nil where the field is absent.
func (f *Fields) Texts(name string, most int) []string {
	var v []string
	f.decode(name, &v, "a list of strings")
	if len(v) > most {
		f.Fail("%s has %d entries, at most %d are read", name, len(v), most)
		return nil
	}
	return v
}

// Ints reads an integer or a list of at most most integers, each between 0 and
// limit, nil where the field is absent.
func (f *Fields) Ints(name string, most, limit int) []int {
	raw := f.Raw(name)
	if raw == nil {
		return nil
	}
	if raw[0] != '[' {
		return []int{f.Int(name, 0, 0, limit)}
	}
	var list []int
	f.decode(name, &list, "an integer or a list of integers")
	if len(list) > most {
		f.Fail("%s has %d entries, at most %d are read", name, len(list), most)
		return nil
	}
	for _, v := range list {
		if v < 0 || v > limit {
			f.Fail("%s has %d, want 0 to %d", name, v, limit)
			return nil
		}
	}
	return list
}

// Object is the inner object, nil where the field is absent.
func (f *Fields) Object(name string) *Fields {
	inner := &Fields{where: f.where + name + ": ", err: f.err}
	if !f.decode(name, &inner.raw, "an object") {
		return nil
	}
	return inner
}
