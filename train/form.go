package train

import (
	"encoding/json"
	"errors"
	"fmt"
)

// wireExample is a line of a data set: one of its four forms.
type wireExample struct {
	Text         *string           `json:"text"`
	Prompt       *string           `json:"prompt"`
	Completion   *string           `json:"completion"`
	Messages     []json.RawMessage `json:"messages"`
	IDs          []int64           `json:"ids"`
	PromptTokens int               `json:"prompt_tokens"`
}

// parse reads a line. Fields of no meaning here are passed over: data sets
// carry all kinds.
func (r Reader) parse(line []byte) (Example, error) {
	var w wireExample
	if err := json.Unmarshal(line, &w); err != nil {
		return Example{}, JSONError(err)
	}
	switch {
	case w.IDs != nil:
		return r.fromIDs(w)
	case r.Text == nil:
		return Example{}, errors.New(`the model has no tokenizer.json: give token ids in "ids"`)
	case w.Messages != nil:
		return r.fromMessages(w.Messages)
	case w.Text != nil:
		ids, err := r.encode(*w.Text, true)
		return continuation(ids, 0), err
	case w.Prompt != nil && w.Completion != nil:
		return r.fromCompletion(*w.Prompt, *w.Completion)
	}
	return Example{}, errors.New(`one of "text", "prompt" with "completion", "messages" or "ids" is needed`)
}

// encode gives a text's ids, which the model knows.
func (r Reader) encode(text string, special bool) ([]int32, error) {
	ids, err := r.Text.Tokenizer.Encode(text, special)
	if err != nil {
		return nil, err
	}
	return ids, r.checkIDs(ids)
}

func (r Reader) fromIDs(w wireExample) (Example, error) {
	if w.PromptTokens < 0 || w.PromptTokens > len(w.IDs) {
		return Example{}, fmt.Errorf("prompt_tokens %d: it takes 0 to the %d ids there are", w.PromptTokens, len(w.IDs))
	}
	ids := make([]int32, len(w.IDs))
	for i, id := range w.IDs {
		if err := r.checkID(id); err != nil {
			return Example{}, err
		}
		ids[i] = int32(id)
	}
	return continuation(ids, w.PromptTokens), nil
}

// fromCompletion encodes prompt and completion as one text. A token across
// the border counts as the completion's.
func (r Reader) fromCompletion(prompt, completion string) (Example, error) {
	before, err := r.encode(prompt, true)
	if err != nil {
		return Example{}, err
	}
	ids, err := r.encode(prompt+completion, true)
	return continuation(ids, common(before, ids)), err
}

// common is the length of the beginning that two sequences share.
func common(a, b []int32) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
