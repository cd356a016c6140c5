package text

import (
	"encoding/json"
	"fmt"
)

// Files are the text files of a model folder; nil where one is absent.
type Files struct {
	Tokenizer       []byte // tokenizer.json; required
	TokenizerConfig []byte // tokenizer_config.json
	ChatTemplate    []byte // chat_template.jinja; goes before the config's template
}

// Text is how a model reads and writes text. It is immutable and safe for
// concurrent use.
type Text struct {
	Tokenizer    *Tokenizer
	Template     *Template // nil: the model has none
	ToolTemplate *Template // for conversations with tools; nil: Template
	BOS, EOS     string    // empty: the config names none
}

// tokenizerConfig is what of tokenizer_config.json concerns text.
type tokenizerConfig struct {
	BOS      json.RawMessage `json:"bos_token"`
	EOS      json.RawMessage `json:"eos_token"`
	Template json.RawMessage `json:"chat_template"`
}

// Load reads the files of a model. Errors are one line and name the file and
// the field.
func Load(files Files) (*Text, error) {
	if len(files.Tokenizer) == 0 {
		return nil, fmt.Errorf("tokenizer.json: missing or empty")
	}
	x := &Text{}
	var err error
	if x.Tokenizer, err = Parse(files.Tokenizer); err != nil {
		return nil, err
	}
	if len(files.TokenizerConfig) > 0 {
		if err := x.configure(files.TokenizerConfig, len(files.ChatTemplate) == 0); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: %w", err)
		}
	}
	if len(files.ChatTemplate) > 0 {
		if x.Template, err = LoadTemplate(string(files.ChatTemplate)); err != nil {
			return nil, fmt.Errorf("chat_template.jinja: %w", err)
		}
	}
	return x, nil
}

func (x *Text) configure(data []byte, withTemplate bool) error {
	var c tokenizerConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	var err error
	if x.BOS, err = x.specialToken(c.BOS); err != nil {
		return fmt.Errorf("bos_token: %w", err)
	}
	if x.EOS, err = x.specialToken(c.EOS); err != nil {
		return fmt.Errorf("eos_token: %w", err)
	}
	if !withTemplate || isNull(c.Template) {
		return nil
	}
	if err := x.loadTemplates(c.Template); err != nil {
		return fmt.Errorf("chat_template: %w", err)
	}
	return nil
}

// specialToken reads a token written as a string or as {"content": ...}.
func (x *Text) specialToken(raw json.RawMessage) (string, error) {
	if isNull(raw) {
		return "", nil
	}
	var token string
	if raw[0] == '{' {
		var object struct{ Content *string }
		if err := json.Unmarshal(raw, &object); err != nil {
			return "", err
		}
		if object.Content == nil {
			return "", fmt.Errorf(`no "content"`)
		}
		token = *object.Content
	} else if err := json.Unmarshal(raw, &token); err != nil {
		return "", err
	}
	if _, ok := x.Tokenizer.ID(token); !ok {
		return "", fmt.Errorf("%q is no token of tokenizer.json", token)
	}
	return token, nil
}

// loadTemplates reads one template, or a list of named ones, of which
// "default" and "tool_use" have a meaning.
func (x *Text) loadTemplates(raw json.RawMessage) (err error) {
	if raw[0] != '[' {
		var src string
		if err := json.Unmarshal(raw, &src); err != nil {
			return err
		}
		x.Template, err = LoadTemplate(src)
		return err
	}
	var list []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, named := range list {
		switch named.Name {
		case "default":
			x.Template, err = LoadTemplate(named.Template)
		case "tool_use":
			x.ToolTemplate, err = LoadTemplate(named.Template)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", named.Name, err)
		}
	}
	if x.Template == nil {
		return fmt.Errorf(`no template is named "default"`)
	}
	return nil
}

// Prompt renders a conversation with the model's template, the one for tools
// where the conversation has some; the model's BOS and EOS are filled in. The
// prompt holds its special tokens as text, so it is encoded without special.
func (x *Text) Prompt(ctx Context) (string, error) {
	template := x.Template
	if x.ToolTemplate != nil && len(ctx.Tools) > 0 {
		template = x.ToolTemplate
	}
	if template == nil {
		return "", fmt.Errorf("chat template: the model has none")
	}
	if ctx.BOSToken == "" {
		ctx.BOSToken = x.BOS
	}
	if ctx.EOSToken == "" {
		ctx.EOSToken = x.EOS
	}
	return template.Render(ctx)
}
