package train

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/text"
)

// write makes a file and gives its name.
func write(t *testing.T, name, content string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

// stories reads for the embedded model.
func stories(t *testing.T) Reader {
	t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile("../models/stories/base/" + name)
		if os.IsNotExist(err) {
			return nil
		}
		require.NoError(t, err)
		return data
	}
	x, err := text.Load(text.Files{
		Tokenizer: read("tokenizer.json"), TokenizerConfig: read("tokenizer_config.json"), ChatTemplate: read("chat_template.jinja"),
	})
	require.NoError(t, err)
	return Reader{Text: x, Vocabulary: 2048}
}

// marked writes an example's targets between brackets, as text.
func marked(r Reader, e Example) string {
	var out strings.Builder
	in := false
	for i, id := range e.IDs {
		if e.Targets[i] != in {
			in = !in
			out.WriteString(map[bool]string{true: "[", false: "]"}[in])
		}
		token, _ := r.Text.Tokenizer.Token(id)
		out.WriteString(token)
	}
	if in {
		out.WriteString("]")
	}
	return strings.NewReplacer("▁", " ", "Ġ", " ", "Ċ", "\n").Replace(out.String())
}

func TestReadTheFourForms(t *testing.T) {
	r := stories(t)
	for line, want := range map[string]string{
		`{"text":"Lily saw a dog.","source":"ours"}`:   "<|begin_of_text|>[Lily saw a dog.]",
		`{"prompt":"Lily saw","completion":" a dog."}`: "<|begin_of_text|>Lily saw[ a dog.]",
		`{"ids":[1,300,301,302]}`:                      "<|begin_of_text|>[%s%s%s]",
		`{"ids":[1,300,301,302],"prompt_tokens":3}`:    "<|begin_of_text|>%s%s[%s]",
		`{"ids":[1,300],"prompt_tokens":2}`:            "<|begin_of_text|>%s",
		`{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yes."},{"role":"user","content":"So"},{"role":"assistant","content":"No."}]}`: "<|begin_of_text|><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[Yes.<|im_end|>\n]<|im_start|>user\nSo<|im_end|>\n<|im_start|>assistant\n[No.<|im_end|>\n]",
	} {
		for _, id := range []int32{300, 301, 302} {
			token, _ := r.Text.Tokenizer.Token(id)
			want = strings.Replace(want, "%s", strings.NewReplacer("▁", " ", "Ġ", " ").Replace(token), 1)
		}
		d, err := r.Load(write(t, "data.jsonl", line+"\n{\"ids\":[1,2]}"))
		require.NoError(t, err, line)
		assert.Equal(t, want, marked(r, d.Examples[0]))
		assert.Equal(t, []int{1, 2}, []int{d.Examples[0].Line, d.Examples[1].Line})
	}
}

func TestReadATextInBlocks(t *testing.T) {
	r := stories(t)
	const content = "Once upon a time, there was a little girl. She liked the rain, the sun and the wind."
	ids, err := r.Text.Tokenizer.Encode(content, false)
	require.NoError(t, err)
	for _, block := range []int{2, 5, len(ids)} {
		r.Block = block
		d, err := r.Load(write(t, "data.txt", content))
		require.NoError(t, err)
		require.Len(t, d.Examples, len(ids)/block)
		for i, e := range d.Examples {
			assert.Equal(t, ids[i*block:(i+1)*block], e.IDs)
			assert.False(t, e.Targets[0])
			assert.NotContains(t, e.Targets[1:], false)
		}
	}
}

func TestReadErrors(t *testing.T) {
	r := stories(t)
	for _, c := range []struct{ name, content, want string }{
		{"a.jsonl", "", "FILE: no sequences: the file is empty"},
		{"a.jsonl", "\n \n", "FILE: no sequences: the file is empty"},
		{"a.jsonl", `{"ids":[1]}`, "FILE: no targets: every sequence needs a token after its first one or its prompt"},
		{"a.jsonl", `{"ids":[]}`, "FILE: no targets: every sequence needs a token after its first one or its prompt"},
		{"a.jsonl", "{\"ids\":[1,2]}\n\nnope", "FILE: line 3: bad JSON: invalid character 'o' in literal null (expecting 'u')"},
		{"a.jsonl", `{"ids":[1,2]`, "FILE: line 1: bad JSON: unexpected end of JSON input"},
		{"a.jsonl", `[1]`, "FILE: line 1: a JSON object is needed, but the line is of type array"},
		{"a.jsonl", `{"text":7}`, `FILE: line 1: field "text": number does not fit: it takes a string`},
		{"a.jsonl", `{"else":7}`, `FILE: line 1: one of "text", "prompt" with "completion", "messages" or "ids" is needed`},
		{"a.jsonl", `{"prompt":"x"}`, `FILE: line 1: one of "text", "prompt" with "completion", "messages" or "ids" is needed`},
		{"a.jsonl", `{"ids":[1,2048]}`, "FILE: line 1: token id 2048 is outside the vocabulary of 2048"},
		{"a.jsonl", `{"ids":[1,-1]}`, "FILE: line 1: token id -1 is outside the vocabulary of 2048"},
		{"a.jsonl", `{"ids":[1,2],"prompt_tokens":-1}`, "FILE: line 1: prompt_tokens -1: it takes 0 to the 2 ids there are"},
		{"a.jsonl", `{"messages":[{"role":"user","content":"x"}]}`, "FILE: line 1: messages: no turn of the assistant"},
		{"a.jsonl", `{"messages":[7]}`, "FILE: line 1: messages: a JSON object is needed, but the line is of type number"},
		{"a.txt", "", "FILE has 0 tokens, not one block of 8: choose a smaller --block"},
		{"a.csv", "1,2", "FILE: the data is a .txt or a .jsonl file"},
	} {
		name := write(t, c.name, c.content)
		r.Block = 8
		_, err := r.Load(name)
		assert.EqualError(t, err, strings.ReplaceAll(c.want, "FILE", name), c.content)
	}
	r.Block = 1
	_, err := r.Load(write(t, "a.txt", "x"))
	assert.EqualError(t, err, "--block 1: it takes 2 or more")
	r.Block = 0
	_, err = r.Load("a.txt")
	assert.ErrorIs(t, err, ErrNoBlock)
	_, err = r.Load("gone.jsonl")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestReadWithoutATokenizer(t *testing.T) {
	r := Reader{Vocabulary: 10, Block: 4}
	name := write(t, "a.jsonl", `{"text":"x"}`)
	_, err := r.Load(name)
	assert.EqualError(t, err, name+`: line 1: the model has no tokenizer.json: give token ids in "ids"`)
	_, err = r.Load(write(t, "a.txt", "x"))
	assert.EqualError(t, err, "the model has no tokenizer.json: give .jsonl data with token ids")
	d, err := r.Load(write(t, "a.jsonl", `{"ids":[1,2]}`))
	require.NoError(t, err)
	assert.Equal(t, []Example{{IDs: []int32{1, 2}, Targets: []bool{false, true}, Line: 1}}, d.Examples)
}

func TestSequencesMustFit(t *testing.T) {
	d := &Dataset{Name: "d.jsonl", Examples: []Example{continuation([]int32{1, 2, 3}, 0), continuation(make([]int32, 40), 0)}}
	d.Examples[1].Line = 9
	for _, c := range []struct {
		limits
		want string
	}{
		{limits{39, 99, 99}, "the context is 39"},
		{limits{40, 38, 99}, "a step takes 38 rows of training"},
		{limits{40, 99, 2}, "the cache has 2 blocks of 16"},
	} {
		_, err := d.fit(c.limits, 16, false)
		assert.EqualError(t, err, "d.jsonl: line 9: the sequence has 40 tokens, but "+c.want+": shorten it, or cut it off with --truncate")
		cut, err := d.fit(c.limits, 16, true)
		require.NoError(t, err)
		assert.Len(t, cut.Examples[1].IDs, min(c.context, c.rows, 16*c.blocks))
		assert.Len(t, cut.Examples[1].Targets, len(cut.Examples[1].IDs))
	}
	_, err := d.fit(limits{2, 39, 3}, 16, false)
	assert.EqualError(t, err, "d.jsonl: block 1: the sequence has 3 tokens, but the context is 2: shorten it, or cut it off with --truncate")
	whole, err := d.fit(limits{40, 39, 3}, 16, false)
	require.NoError(t, err)
	assert.Equal(t, d, whole)

	late := &Dataset{Name: "d", Examples: []Example{continuation(make([]int32, 40), 30)}}
	_, err = late.fit(limits{20, 99, 99}, 16, true)
	assert.EqualError(t, err, "d: no targets: every sequence needs a token after its first one or its prompt")
}

func TestFingerprintsTellDataApart(t *testing.T) {
	seen := map[string]bool{}
	for _, examples := range [][]Example{
		{continuation([]int32{1, 2, 3}, 0)},
		{continuation([]int32{1, 2, 3}, 2)},
		{continuation([]int32{1, 2, 4}, 0)},
		{continuation([]int32{1, 2}, 0), continuation([]int32{3}, 0)},
		{continuation([]int32{1}, 0), continuation([]int32{2, 3}, 0)},
	} {
		f := (&Dataset{Examples: examples}).fingerprint()
		assert.Len(t, f, len("sha256:")+64)
		assert.Equal(t, f, (&Dataset{Name: "other", Examples: examples}).fingerprint())
		seen[f] = true
	}
	assert.Len(t, seen, 5)
}
