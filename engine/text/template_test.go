package text

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func render(t *testing.T, src string, ctx Context) (string, error) {
	t.Helper()
	template, err := LoadTemplate(src)
	require.NoError(t, err, src)
	if ctx.Messages == nil {
		ctx.Messages = Messages(Message{"user", "hi"})
	}
	return template.Render(ctx)
}

func TestRenderGivesTheTemplateItsVariables(t *testing.T) {
	got, err := render(t, "{{ bos_token }}{{ messages[0].content }}{{ tools | tojson }}{{ add_generation_prompt }}{{ eos_token }}{{ a.z }}{{ a | tojson }}{{ flag }}", Context{
		Tools: json.RawMessage(`[{"z": 1, "a": {"y": 1.0, "b": null}}]`), AddGenerationPrompt: true, BOSToken: "<s>", EOSToken: "</s>",
		Extra: map[string]any{"a": json.RawMessage(`{"z": "kept", "b": 1}`), "flag": false},
	})
	require.NoError(t, err)
	assert.Equal(t, `<s>hi[{"z": 1, "a": {"y": 1.0, "b": null}}]True</s>kept{"z": "kept", "b": 1}False`, got)

	got, err = render(t, "{{ tools is defined }}{{ bos_token is defined }}{{ eos_token is defined }}{{ add_generation_prompt }}", Context{})
	require.NoError(t, err)
	assert.Equal(t, "FalseFalseFalseFalse", got)
}

func TestRenderRefusesBadContexts(t *testing.T) {
	for want, ctx := range map[string]Context{
		"chat template: messages: unexpected EOF":                        {Messages: json.RawMessage("")},
		"chat template: messages: {'a': 1}, want an array":               {Messages: json.RawMessage(`{"a": 1}`)},
		"chat template: messages: more than one JSON value":              {Messages: json.RawMessage(`[] []`)},
		"chat template: tools: invalid character 'x'":                    {Messages: json.RawMessage(`[]`), Tools: json.RawMessage("[x]")},
		"chat template: odd: json: unsupported type: func()":             {Messages: json.RawMessage(`[]`), Extra: map[string]any{"odd": func() {}}},
		"chat template: messages: JSON nested more than 200 deep":        {Messages: json.RawMessage(strings.Repeat("[", 300) + strings.Repeat("]", 300))},
		"chat template: messages: strconv.ParseFloat: parsing \"1e999\"": {Messages: json.RawMessage(`[1e999]`)},
	} {
		template, err := LoadTemplate("x")
		require.NoError(t, err)
		_, err = template.Render(ctx)
		assert.ErrorContains(t, err, want)
	}
}

func TestRaiseException(t *testing.T) {
	_, err := render(t, "{% if messages %}{{ raise_exception('roles must alternate') }}{% endif %}", Context{})
	var raised *RaisedError
	require.ErrorAs(t, err, &raised)
	assert.Equal(t, "roles must alternate", raised.Message)
	assert.Equal(t, "chat template: roles must alternate", err.Error())
}

func TestRenderTurnsPanicsToErrors(t *testing.T) {
	for _, src := range []string{"{{ '%s' % 'x' }}", "{{ 1 % 0 }}", "{{ 'a' * -1 }}", "{% set messages.x = 1 %}"} {
		_, err := render(t, src, Context{})
		require.Error(t, err, src)
		var raised *RaisedError
		assert.False(t, errors.As(err, &raised))
		assert.True(t, strings.HasPrefix(err.Error(), "chat template: "), err)
		assert.NotContains(t, err.Error(), "\n")
	}
}

func TestRenderIsLimited(t *testing.T) {
	for src, want := range map[string]string{
		"{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}":                                     "calls nested more than 100 deep",
		"{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}":  "calls nested more than 100 deep",
		"{{ range(1000000000) | length }}":                                                       "range: more than 65536 numbers",
		"{% for a in range(60000) %}{% for b in range(60000) %}{% endfor %}{% endfor %}":         "more than 1048576 steps",
		"{% for a in range(1, 9, 0) %}{% endfor %}":                                              "range: a step of 0",
		"{% set s %}{{ 'a' * 1048576 }}{% endset %}{% for a in range(100) %}{{ s }}{% endfor %}": "output of more than 67108864 bytes",
		"{{ range(1.5) }}":                                 "1.5 is no whole number",
		"{{ range() }}":                                    "range: 0 arguments",
		"{% for x in 7 %}{% endfor %}":                     "7 cannot be iterated over",
		"{{ messages.append(1) }}":                         "unknown method 'append'",
		"{{ messages[0].pop('role') }}":                    "unknown method 'pop'",
		"{{ messages | nosuchfilter }}":                    "filter 'nosuchfilter' not found",
		"{{ 'a'.split(sap='b') }}":                         `split: unexpected argument "sap"`,
		"{{ messages | tojson(indent='" + "x', nope=1) }}": `tojson: no argument is named "nope"`,
		"{{ strftime_now('%Q') }}":                         "strftime_now: directive %Q is not supported",
		"{{ strftime_now() }}":                             "strftime_now: 0 arguments",
	} {
		_, err := render(t, src, Context{})
		require.Error(t, err, src)
		assert.Contains(t, err.Error(), want, src)
	}
}

func TestLoadTemplateRefuses(t *testing.T) {
	for src, want := range map[string]string{
		"{% for x in y %}":                       "parse chat template: ",
		"{{ x":                                   "parse chat template: ",
		"{% nosuch %}":                           "parse chat template: ",
		"{% include 'secrets' %}":                "parse chat template: ",
		"{% extends 'secrets' %}":                "parse chat template: ",
		"{% import 'secrets' as s %}":            "parse chat template: ",
		"{% for x in y recursive %}{% endfor %}": "a recursive loop is not supported",
		"{{ " + strings.Repeat("(", 100) + "1":   "brackets nested more than 64 deep",
		strings.Repeat("x", maxTemplateSource+1): "262145 bytes, want at most 262144",
		"{% generation x %}{% endgeneration %}":  "generation takes no arguments",
		"{% generation %}{% endgeneration x %}":  "endgeneration takes no arguments",
	} {
		_, err := LoadTemplate(src)
		require.Error(t, err, src)
		assert.Contains(t, err.Error(), want)
		assert.Less(t, len(err.Error()), 2*maxTemplateError)
		assert.NotContains(t, err.Error(), "\n")
	}
}

// TestLoadTemplateSurvivesCorruption cuts templates short and shuffles bits of
// them: an error or a template, never a panic or a hang.
func TestLoadTemplateSurvivesCorruption(t *testing.T) {
	var golden struct{ Cases []struct{ Template string } }
	readJSON(t, "testdata/dialect.json", &golden)
	r := rand.New(rand.NewPCG(7, 8))
	for _, c := range golden.Cases {
		for range 20 {
			src := []byte(c.Template)[:r.IntN(len(c.Template)+1)]
			for range r.IntN(3) {
				if len(src) > 0 {
					src[r.IntN(len(src))] = `{}%#()[]|'"-+.,:= aif`[r.IntN(21)]
				}
			}
			template, err := LoadTemplate(string(src))
			if err != nil {
				assert.NotContains(t, err.Error(), "\n")
				continue
			}
			_, err = template.Render(Context{Messages: Messages(Message{"user", "hi"})})
			if err != nil {
				assert.NotContains(t, err.Error(), "\n")
			}
		}
	}
}

func TestGenerationMarksAndChangesNothing(t *testing.T) {
	got, err := render(t, "a{% generation %}b{% set x = 1 %}{% endgeneration %}c{{ x }}", Context{})
	require.NoError(t, err)
	assert.Equal(t, "abc1", got)
}

func TestRenderIsSafeForConcurrentUse(t *testing.T) {
	template, err := LoadTemplate("{% macro m(x) %}[{{ x }}]{% endmacro %}{% for m2 in messages %}{% set y = m2.content %}{{ m(y | trim) }}{% endfor %}")
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				got, err := template.Render(Context{Messages: Messages(Message{"user", " hi "}, Message{"assistant", "there"})})
				assert.NoError(t, err)
				assert.Equal(t, "[hi][there]", got)
			}
		})
	}
	group.Wait()
}

func TestStrftimeNow(t *testing.T) {
	template, err := LoadTemplate("{{ strftime_now('%d %b %Y') }} {{ strftime_now(format) }}")
	require.NoError(t, err)
	template.now = func() time.Time { return time.Date(2024, 7, 6, 15, 4, 5, 123456000, time.UTC) }
	got, err := template.Render(Context{Messages: Messages(), Extra: map[string]any{"format": "%A %-d %B %y %H:%M:%S.%f %I%p %j 100%% %Z %F %-m"}})
	require.NoError(t, err)
	assert.Equal(t, "06 Jul 2024 Saturday 6 July 24 15:04:05.123456 03PM 188 100% UTC 2024-07-06 7", got)
}

func TestRewriteTemplate(t *testing.T) {
	for src, want := range map[string]string{
		"plain {{ x }}":                     "plain {{ x }}",
		"{% if a if b else c %}":            "{% if a if b else c %}",
		"{{ (a if b) }}":                    "{{ ( (((( b) and [a ]) or [''])[0]) ) }}",
		"{{ x[-1].y[-2] }}":                 "{{ x[-1:][0].y[-2:-1][0] }}",
		"{{ [-1] }}{{ x [- 1] }}":           "{{ [-1] }}{{ x [- 1] }}",
		"{{ 'a[-1] if b' }}":                "{{ 'a[-1] if b' }}",
		"  {% set x = 1 %}\n y":             "{% set x = 1 %} y",
		"  {%+ set x = 1 +%}\n y":           "  {% set x = 1 %}\n y",
		"a  {% set x = 1 -%}\n y":           "a  {% set x = 1 -%}\n y",
		"{% raw %}\n {{ x[-1] {% endraw %}": "{% raw %}\n {{ x[-1] {% endraw %}",
		"{# it's #}\nx":                     "{# #}x",
		"{{ x":                              "{{ x",
		"{{ ) }}":                           "{{ ) }}",
	} {
		got, err := rewriteTemplate(src)
		require.NoError(t, err)
		assert.Equal(t, want, got, src)
	}
}
