package text

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func storiesFiles(t *testing.T) Files {
	t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(storiesBase, name))
		require.NoError(t, err)
		return data
	}
	return Files{read("tokenizer.json"), read("tokenizer_config.json"), read("chat_template.jinja")}
}

func TestLoadStories(t *testing.T) {
	x, err := Load(storiesFiles(t))
	require.NoError(t, err)
	assert.Equal(t, "<|begin_of_text|>", x.BOS)
	assert.Equal(t, "<|end_of_text|>", x.EOS)
	prompt, err := x.Prompt(Context{Messages: Messages(Message{"user", "Tell me <a> story & \"more\""}), AddGenerationPrompt: true})
	require.NoError(t, err)
	assert.Equal(t, "<|begin_of_text|><|im_start|>user\nTell me <a> story & \"more\"<|im_end|>\n<|im_start|>assistant\n", prompt)
	ids, err := x.Tokenizer.Encode(prompt, false)
	require.NoError(t, err)
	assert.Equal(t, []int32{1, 3}, ids[:2])
}

func TestLoadReadsEveryFormOfConfig(t *testing.T) {
	files := storiesFiles(t)
	load := func(config, template string) *Text {
		x, err := Load(Files{files.Tokenizer, []byte(config), []byte(template)})
		require.NoError(t, err)
		return x
	}
	x := load(``, ``)
	assert.Nil(t, x.Template)
	_, err := x.Prompt(Context{Messages: Messages()})
	assert.EqualError(t, err, "chat template: the model has none")

	x = load(`{"bos_token": {"content": "<|begin_of_text|>", "lstrip": false}, "eos_token": null, "chat_template": "{{ bos_token }}one"}`, ``)
	assert.Equal(t, []string{"<|begin_of_text|>", ""}, []string{x.BOS, x.EOS})
	assertPrompt(t, x, Context{}, "<|begin_of_text|>one")
	assertPrompt(t, x, Context{BOSToken: "<own>"}, "<own>one")

	x = load(`{"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}, {"name": "rag", "template": "{% broken"}]}`, ``)
	assertPrompt(t, x, Context{}, "d")
	assertPrompt(t, x, Context{Tools: []byte(`[]`)}, "t")

	x = load(`{"chat_template": "{% broken"}`, `from the file`)
	assertPrompt(t, x, Context{}, "from the file")
}

func assertPrompt(t *testing.T, x *Text, ctx Context, want string) {
	t.Helper()
	ctx.Messages = Messages()
	got, err := x.Prompt(ctx)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestLoadNamesWhatIsWrong(t *testing.T) {
	files := storiesFiles(t)
	for _, c := range []struct {
		files Files
		want  string
	}{
		{Files{}, "tokenizer.json: missing or empty"},
		{Files{Tokenizer: []byte("[]")}, "tokenizer.json: json: cannot unmarshal array"},
		{Files{files.Tokenizer, []byte("{"), nil}, "tokenizer_config.json: unexpected end of JSON input"},
		{Files{files.Tokenizer, []byte(`{"bos_token": 1}`), nil}, "tokenizer_config.json: bos_token: json: cannot unmarshal number"},
		{Files{files.Tokenizer, []byte(`{"eos_token": {}}`), nil}, `tokenizer_config.json: eos_token: no "content"`},
		{Files{files.Tokenizer, []byte(`{"eos_token": "</x>"}`), nil}, `tokenizer_config.json: eos_token: "</x>" is no token of tokenizer.json`},
		{Files{files.Tokenizer, []byte(`{"chat_template": 1}`), nil}, "tokenizer_config.json: chat_template: json: cannot unmarshal number"},
		{Files{files.Tokenizer, []byte(`{"chat_template": []}`), nil}, `tokenizer_config.json: chat_template: no template is named "default"`},
		{Files{files.Tokenizer, []byte(`{"chat_template": [{"name": "default", "template": "{% x %}"}]}`), nil}, `tokenizer_config.json: chat_template: "default": parse chat template: `},
		{Files{files.Tokenizer, nil, []byte("{% x %}")}, "chat_template.jinja: parse chat template: "},
	} {
		_, err := Load(c.files)
		require.Error(t, err)
		assert.Contains(t, err.Error(), c.want)
		assert.NotContains(t, err.Error(), "\n")
	}
}
