package text

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// templateCase is a rendering by Python's jinja2, set up as transformers does.
type templateCase struct {
	Template string
	Context  map[string]json.RawMessage
	Out, Err *string
}

func templateCases(t *testing.T, name string) []templateCase {
	t.Helper()
	var all, cases []templateCase
	readJSON(t, filepath.Join(goldenText, "template_cases.json"), &all)
	for _, c := range all {
		if c.Template == name {
			cases = append(cases, c)
		}
	}
	require.Len(t, cases, 24)
	return cases
}

// contextOf passes everything but the messages as an extra variable.
func contextOf(c templateCase) Context {
	ctx := Context{Messages: c.Context["messages"], Extra: map[string]any{}}
	for name, value := range c.Context {
		if name != "messages" {
			ctx.Extra[name] = value
		}
	}
	return ctx
}

func checkTemplate(t *testing.T, src, name string) {
	t.Helper()
	checkCases(t, src, templateCases(t, name))
}

func checkCases(t *testing.T, src string, cases []templateCase) {
	t.Helper()
	template, err := LoadTemplate(src)
	require.NoError(t, err)
	for i, c := range cases {
		require.Nil(t, c.Err)
		got, err := template.Render(contextOf(c))
		if err != nil {
			t.Errorf("case %d: %v", i, err)
		} else if diff := cmp.Diff(*c.Out, got); diff != "" {
			t.Errorf("case %d (-want +got):\n%s", i, diff)
		}
	}
}

// vendorTemplate is the chat template of a vendor's model.
func vendorTemplate(t *testing.T, name string) string {
	var config struct {
		Template string `json:"chat_template"`
	}
	require.NoError(t, json.Unmarshal(vendorFile(t, name, "tokenizer_config.json"), &config))
	return config.Template
}

func TestVendorTemplatesAgreeWithJinja(t *testing.T) {
	for _, name := range []string{"llama3_1", "qwen2_5", "qwen3"} {
		t.Run(name, func(t *testing.T) { checkTemplate(t, vendorTemplate(t, name), name) })
	}
	// Llama 3.2's template is Llama 3.1's with tools, but for the built-in tools,
	// which it leaves out, and the date, which it takes from the clock.
	t.Run("llama3_2", func(t *testing.T) {
		var cases []templateCase
		for _, c := range templateCases(t, "llama3_1_tools") {
			if c.Context["builtin_tools"] == nil {
				c.Context["date_string"] = json.RawMessage(`"26 Jul 2024"`)
				cases = append(cases, c)
			}
		}
		require.Len(t, cases, 22)
		checkCases(t, vendorTemplate(t, "llama3_2"), cases)
	})
	// No package holds this one (Llama 3.1 Instruct's own, with tools): it is
	// compared where someone has put it beside the fetched files.
	t.Run("llama3_1_tools", func(t *testing.T) {
		checkTemplate(t, string(vendorFile(t, "llama3_1_tools", "chat_template.jinja")), "llama3_1_tools")
	})
}

// TestFeaturesAgreeWithJinja renders our own template of dialect features; the
// one the library cannot do, whole numbers from **, is rounded.
func TestFeaturesAgreeWithJinja(t *testing.T) {
	src, err := os.ReadFile(filepath.Join(goldenText, "templates", "features.jinja"))
	require.NoError(t, err)
	power := "{{ 2 ** 3 }}"
	require.Contains(t, string(src), power)
	checkTemplate(t, strings.Replace(string(src), power, "{{ (2 ** 3) | int }}", 1), "features")
}
