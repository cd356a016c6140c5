package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"loquetier/engine/text"
)

// fromMessages counts the assistant's turns, up to the token that ends each.
func (r Reader) fromMessages(messages []json.RawMessage) (Example, error) {
	turns, err := r.assistantTurns(messages)
	if err != nil {
		return Example{}, err
	}
	if len(turns) == 0 {
		return Example{}, errors.New("messages: no turn of the assistant")
	}
	ids, err := r.encode(turns[len(turns)-1].until, false)
	if err != nil {
		return Example{}, err
	}
	e := Example{IDs: ids, Targets: make([]bool, len(ids))}
	for _, t := range turns {
		from, err := r.encode(t.from, false)
		if err != nil {
			return Example{}, err
		}
		until, err := r.encode(t.until, false)
		if err != nil {
			return Example{}, err
		}
		for i := max(1, common(from, ids)); i < common(until, ids); i++ {
			e.Targets[i] = true
		}
	}
	return e, nil
}

// maxMessages is the most messages of a conversation: it is rendered and
// tokenized up to each of the assistant's.
const maxMessages = 256

// turn is a conversation as rendered before and after an answer.
type turn struct{ from, until string }

// assistantTurns renders the conversation around each turn of the assistant.
// What is rendered must only grow: otherwise the turns have no place in it.
func (r Reader) assistantTurns(messages []json.RawMessage) ([]turn, error) {
	if len(messages) > maxMessages {
		return nil, fmt.Errorf("messages: %d of them, at most %d are taken: split the conversation", len(messages), maxMessages)
	}
	var turns []turn
	before := ""
	for i, m := range messages {
		var message struct {
			Role string `json:"role"`
		}
		if err := json.Unmarshal(m, &message); err != nil {
			return nil, fmt.Errorf("messages: %w", JSONError(err))
		}
		if message.Role != "assistant" {
			continue
		}
		t, err := r.renderTurn(messages[:i+1])
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(t.until, t.from) || !strings.HasPrefix(t.until, before) {
			return nil, fmt.Errorf("messages: the chat template rewrites what comes before turn %d: give one answer a line", i+1)
		}
		before = t.until
		turns = append(turns, t)
	}
	return turns, nil
}

// renderTurn renders a conversation that ends with an answer, without and with it.
func (r Reader) renderTurn(messages []json.RawMessage) (t turn, err error) {
	if t.from, err = r.render(messages[:len(messages)-1], true); err != nil {
		return t, err
	}
	t.until, err = r.render(messages, false)
	return t, err
}

func (r Reader) render(messages []json.RawMessage, answering bool) (string, error) {
	if r.Text.Template == nil {
		return "", errors.New("messages: the model has no chat template: give prompt and completion, or add chat_template.jinja to its folder")
	}
	data, err := json.Marshal(messages)
	if err != nil {
		return "", err
	}
	return r.Text.Prompt(text.Context{Messages: data, AddGenerationPrompt: answering})
}
