package text

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

const (
	maxTemplateSource = 256 << 10 // bytes
	maxTemplateError  = 300       // bytes of the library's error text
)

// Template is a chat template in the dialect of Hugging Face's transformers:
// Jinja with trimmed blocks, loop controls, tojson as Python writes it,
// raise_exception and strftime_now. It is safe for concurrent use.
//
// Known to differ from Jinja: a null in the context is not "defined" and
// prints as nothing; undefined values never raise; the % operator works on
// whole numbers only and ** gives a float; loops unpack at most two names; a
// list written in the template prints its strings without escapes. Methods
// that change a list or dict are refused, as in transformers' sandbox, and so
// are recursive loops and reading other templates.
type Template struct {
	inner *exec.Template
	now   func() time.Time
}

// Context is what a template is rendered with. Key order is kept in all JSON.
type Context struct {
	Messages            json.RawMessage // an array of objects, as the chat APIs have them
	Tools               json.RawMessage // an array; empty: none, and "tools" is undefined
	AddGenerationPrompt bool
	BOSToken, EOSToken  string // empty: undefined
	// Extra holds further variables (date_string, enable_thinking, ...), in
	// anything json.Marshal takes; json.RawMessage keeps the order of keys.
	Extra map[string]any
}

// Message is the common case of a message: text and who says it.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Messages writes messages for a Context.
func Messages(messages ...Message) json.RawMessage {
	if messages == nil {
		messages = []Message{}
	}
	out, err := json.Marshal(messages)
	if err != nil {
		panic("BUG: two strings do not marshal: " + err.Error())
	}
	return out
}

// RaisedError is the template's own complaint about its input, made with
// raise_exception: the fault of the messages, not of the template.
type RaisedError struct{ Message string }

func (e *RaisedError) Error() string { return "chat template: " + e.Message }

// LoadTemplate reads the source of a template.
func LoadTemplate(src string) (t *Template, err error) {
	defer func() {
		// The library's parser panics on some malformed sources.
		if r := recover(); r != nil {
			t, err = nil, fmt.Errorf("parse chat template: %s", shorten(fmt.Sprint(r)))
		}
	}()
	if len(src) > maxTemplateSource {
		return nil, fmt.Errorf("parse chat template: %d bytes, want at most %d", len(src), maxTemplateSource)
	}
	rewritten, err := rewriteTemplate(src)
	if err != nil {
		return nil, fmt.Errorf("parse chat template: %w", err)
	}
	t = &Template{now: time.Now}
	t.inner, err = exec.NewTemplate("chat template", config.New(), source(rewritten), t.environment())
	if err != nil {
		// The outermost error repeats the whole source.
		if cause := errors.Unwrap(err); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("parse chat template: %s", shorten(err.Error()))
	}
	return t, nil
}

func (t *Template) environment() *exec.Environment {
	filters := templateFilters()
	filters.Update(exec.NewFilterSet(map[string]exec.FilterFunction{iterateFilter: filterIterate}))
	globals := exec.EmptyContext().Update(builtins.GlobalFunctions).Update(exec.NewContext(map[string]any{
		"range":           rangeList,
		"raise_exception": raiseException,
		"strftime_now":    t.strftimeNow,
	}))
	return &exec.Environment{
		Context: globals, Filters: filters, Tests: templateTests(),
		ControlStructures: templateStatements(), Methods: templateMethods(),
	}
}

// source is a loader that knows one template and no files.
type source string

func (s source) Read(string) (io.Reader, error)         { return strings.NewReader(string(s)), nil }
func (s source) Resolve(path string) (string, error)    { return path, nil }
func (s source) Inherit(string) (loaders.Loader, error) { return s, nil }

// Render gives the prompt for a conversation. A complaint of the template is a
// *RaisedError; other errors are one line that begins with "chat template".
func (t *Template) Render(ctx Context) (out string, err error) {
	state := &renderState{deadline: time.Now().Add(maxRenderTime)}
	variables, err := ctx.variables()
	if err != nil {
		return "", fmt.Errorf("chat template: %w", err)
	}
	variables[stateKey] = state
	defer func() {
		// Evaluation panics on operands it does not expect.
		if r := recover(); r != nil {
			out, err = "", fmt.Errorf("chat template: %s", shorten(fmt.Sprint(r)))
		}
	}()
	w := &limitedWriter{}
	err = t.inner.Execute(w, exec.NewContext(variables))
	if state.raised != nil {
		return "", state.raised
	}
	if err != nil {
		return "", fmt.Errorf("chat template: %s", shorten(err.Error()))
	}
	return w.String(), nil
}

func (c Context) variables() (map[string]any, error) {
	out := map[string]any{"add_generation_prompt": c.AddGenerationPrompt}
	messages, err := decodeValue(c.Messages)
	if err != nil {
		return nil, fmt.Errorf("messages: %w", err)
	}
	if _, ok := messages.(list); !ok {
		return nil, fmt.Errorf("messages: %s, want an array", shorten(repr(messages)))
	}
	out["messages"] = messages
	if len(c.Tools) > 0 {
		if out["tools"], err = decodeValue(c.Tools); err != nil {
			return nil, fmt.Errorf("tools: %w", err)
		}
	}
	if c.BOSToken != "" {
		out["bos_token"] = c.BOSToken
	}
	if c.EOSToken != "" {
		out["eos_token"] = c.EOSToken
	}
	for name, value := range c.Extra {
		data, err := json.Marshal(value)
		if err == nil {
			out[name], err = decodeValue(data)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return out, nil
}

type limitedWriter struct{ strings.Builder }

func (w *limitedWriter) Write(p []byte) (int, error) { return w.WriteString(string(p)) }

func (w *limitedWriter) WriteString(s string) (int, error) {
	if w.Len()+len(s) > maxOutput {
		return 0, fmt.Errorf("output of more than %d bytes", maxOutput)
	}
	return w.Builder.WriteString(s)
}

// shorten makes one line of at most maxTemplateError bytes, keeping the end:
// the library's errors name the cause last.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxTemplateError {
		s = "..." + strings.ToValidUTF8(s[len(s)-maxTemplateError:], "")
	}
	return s
}

func raiseException(e *exec.Evaluator, params *exec.VarArgs) (any, error) {
	raised := &RaisedError{}
	if len(params.Args) > 0 {
		raised.Message = str(native(params.Args[0]))
	}
	stateOf(e.Environment.Context).raised = raised
	return nil, raised
}

// rangeList is range as a list: the library's own is fed by a goroutine, which
// a loop that breaks leaves behind.
func rangeList(params *exec.VarArgs) (any, error) {
	bounds := make([]int, len(params.Args))
	for i, arg := range nativeArgs(params) {
		n, ok := arg.(int)
		if !ok {
			return nil, fmt.Errorf("range: %s is no whole number", repr(arg))
		}
		bounds[i] = n
	}
	start, stop, step := 0, 0, 1
	switch len(bounds) {
	case 1:
		stop = bounds[0]
	case 2:
		start, stop = bounds[0], bounds[1]
	case 3:
		start, stop, step = bounds[0], bounds[1], bounds[2]
	default:
		return nil, fmt.Errorf("range: %d arguments, want 1 to 3", len(bounds))
	}
	if step == 0 {
		return nil, fmt.Errorf("range: a step of 0")
	}
	out := list{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(out) == maxRange {
			return nil, fmt.Errorf("range: more than %d numbers", maxRange)
		}
		out = append(out, i)
	}
	return out, nil
}
