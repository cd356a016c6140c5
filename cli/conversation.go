package cli

import (
	"encoding/json"
	"errors"
	"strings"

	"loquetier/engine/text"
)

// errNoTemplate is the error of a chat with a model that was not made for it.
var errNoTemplate = errors.New("the model has no chat template: use generate, or add chat_template.jinja to its folder")

// checkTemplate refuses models without a chat template.
func (s *session) checkTemplate() error {
	if s.text == nil || s.text.Template == nil {
		return errNoTemplate
	}
	return nil
}

// render gives a conversation as the model's chat template writes it, with
// answering up to where the assistant's next turn begins.
func (s *session) render(messages json.RawMessage, answering bool) (string, error) {
	if err := s.checkTemplate(); err != nil {
		return "", err
	}
	return s.text.Prompt(text.Context{Messages: messages, AddGenerationPrompt: answering})
}

// encodeRendered gives the ids of a rendered conversation, whose special
// tokens are in the text.
func (s *session) encodeRendered(rendered string) ([]int32, error) {
	ids, err := s.text.Tokenizer.Encode(rendered, false)
	if err != nil {
		return nil, err
	}
	return ids, s.checkIDs(ids)
}

// turnEnd finds the special token that the template writes after an
// assistant's turn, which the configuration need not name as an end.
func (s *session) turnEnd() (id int32, found bool, err error) {
	const answer = "loquetier"
	rendered, err := s.render(text.Messages(text.Message{Role: "user", Content: "?"}, text.Message{Role: "assistant", Content: answer}), false)
	if err != nil {
		return 0, false, err
	}
	at := strings.LastIndex(rendered, answer)
	if at < 0 {
		return 0, false, nil
	}
	ids, err := s.encodeRendered(rendered[at+len(answer):])
	if err != nil || len(ids) == 0 {
		return 0, false, err
	}
	return ids[0], s.text.Tokenizer.IsSpecial(ids[0]), nil
}
