package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// example is a sequence of token ids with those that count in the loss.
type example struct {
	ids     []int32
	targets []bool // beside ids; the first is never one, nothing comes before it
}

// continuation counts everything from position k on.
func continuation(ids []int32, k int) example {
	e := example{ids, make([]bool, len(ids))}
	for i := max(k, 1); i < len(ids); i++ {
		e.targets[i] = true
	}
	return e
}

// maxText is the largest text file that is read, in bytes: its tokens are all
// in memory.
const maxText = 256 << 20

// dataset reads a file by its extension: .txt in blocks of that many tokens,
// .jsonl a sequence a line. It ends at the first error.
func (s *session) dataset(name string, block int) (iter.Seq2[example, error], error) {
	switch ext := filepath.Ext(name); {
	case ext == ".txt" && block == 0:
		return nil, usagef("--block is missing: a text is cut into blocks of that many tokens")
	case ext == ".txt":
		return s.textBlocks(name, block)
	case ext == ".jsonl":
		return s.jsonLines(name)
	}
	return nil, fmt.Errorf("%s: the data is a .txt or a .jsonl file", name)
}

// textBlocks cuts a text's token stream, without special tokens, into
// consecutive blocks; what is left is dropped.
func (s *session) textBlocks(name string, block int) (iter.Seq2[example, error], error) {
	text, err := readText(name)
	if err != nil {
		return nil, err
	}
	if s.text == nil {
		return nil, errors.New("the model has no tokenizer.json: give .jsonl data with token ids")
	}
	ids, err := s.text.Tokenizer.Encode(text, false)
	if err != nil {
		return nil, err
	}
	if len(ids) < block {
		return nil, fmt.Errorf("%s has %d tokens, not one block of %d: choose a smaller --block", name, len(ids), block)
	}
	return func(yield func(example, error) bool) {
		for rest := ids; len(rest) >= block; rest = rest[block:] {
			if !yield(continuation(rest[:block], 0), nil) {
				return
			}
		}
	}, s.checkIDs(ids)
}

func readText(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxText+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s: %w", name, err)
	case len(data) > maxText:
		return "", fmt.Errorf("read %s: more than %d MiB: split it", name, maxText>>20)
	}
	return string(data), nil
}

// jsonLines reads a sequence a line.
func (s *session) jsonLines(name string) (iter.Seq2[example, error], error) {
	file, err := openLines(name)
	if err != nil {
		return nil, err
	}
	return func(yield func(example, error) bool) {
		defer file.close()
		for {
			line, err := file.next()
			if errors.Is(err, io.EOF) {
				return
			}
			var e example
			if err == nil {
				e, err = s.parseExample(line)
			}
			if err != nil {
				err = file.errorf(err)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}, nil
}

// wireExample is a line of a data set: one of its four forms.
type wireExample struct {
	Text         *string           `json:"text"`
	Prompt       *string           `json:"prompt"`
	Completion   *string           `json:"completion"`
	Messages     []json.RawMessage `json:"messages"`
	IDs          []int64           `json:"ids"`
	PromptTokens int               `json:"prompt_tokens"`
}

// parseExample reads a line. Fields of no meaning here are passed over: data
// sets carry all kinds.
func (s *session) parseExample(line []byte) (example, error) {
	var w wireExample
	if err := json.Unmarshal(line, &w); err != nil {
		return example{}, wireError(err)
	}
	switch {
	case w.IDs != nil:
		return s.fromIDs(w)
	case s.text == nil:
		return example{}, errors.New(`the model has no tokenizer.json: give token ids in "ids"`)
	case w.Messages != nil:
		return s.fromMessages(w.Messages)
	case w.Text != nil:
		ids, err := s.text.Tokenizer.Encode(*w.Text, true)
		return s.checked(continuation(ids, 0), err)
	case w.Prompt != nil && w.Completion != nil:
		return s.fromCompletion(*w.Prompt, *w.Completion)
	}
	return example{}, errors.New(`one of "text", "prompt" with "completion", "messages" or "ids" is needed`)
}

// checked is an encoded example whose ids the model knows.
func (s *session) checked(e example, err error) (example, error) {
	if err == nil {
		err = s.checkIDs(e.ids)
	}
	return e, err
}

func (s *session) fromIDs(w wireExample) (example, error) {
	if w.PromptTokens < 0 || w.PromptTokens > len(w.IDs) {
		return example{}, fmt.Errorf("prompt_tokens %d: it takes 0 to the %d ids there are", w.PromptTokens, len(w.IDs))
	}
	ids, err := s.checkedIDs(w.IDs)
	if err != nil {
		return example{}, err
	}
	return continuation(ids, w.PromptTokens), nil
}

// fromCompletion encodes prompt and completion as one text. A token across
// the border counts as the completion's.
func (s *session) fromCompletion(prompt, completion string) (example, error) {
	before, err := s.text.Tokenizer.Encode(prompt, true)
	if err != nil {
		return example{}, err
	}
	ids, err := s.text.Tokenizer.Encode(prompt+completion, true)
	return s.checked(continuation(ids, common(before, ids)), err)
}

// fromMessages counts the assistant's turns, up to the token that ends each.
func (s *session) fromMessages(messages []json.RawMessage) (example, error) {
	turns, err := s.assistantTurns(messages)
	if err != nil {
		return example{}, err
	}
	if len(turns) == 0 {
		return example{}, errors.New("messages: no turn of the assistant")
	}
	ids, err := s.encodeRendered(turns[len(turns)-1].until)
	if err != nil {
		return example{}, err
	}
	e := example{ids, make([]bool, len(ids))}
	for _, t := range turns {
		from, err := s.encodeRendered(t.from)
		if err != nil {
			return example{}, err
		}
		until, err := s.encodeRendered(t.until)
		if err != nil {
			return example{}, err
		}
		for i := max(1, common(from, ids)); i < common(until, ids); i++ {
			e.targets[i] = true
		}
	}
	return e, nil
}

// turn is a conversation as rendered before and after an answer.
type turn struct{ from, until string }

// assistantTurns renders the conversation around each turn of the assistant.
// What is rendered must only grow: otherwise the turns have no place in it.
func (s *session) assistantTurns(messages []json.RawMessage) ([]turn, error) {
	var turns []turn
	before := ""
	for i, m := range messages {
		var message struct {
			Role string `json:"role"`
		}
		if err := json.Unmarshal(m, &message); err != nil {
			return nil, fmt.Errorf("messages: %w", wireError(err))
		}
		if message.Role != "assistant" {
			continue
		}
		t, err := s.renderTurn(messages[:i+1])
		if err != nil {
			return nil, err
		}
		if !hasPrefixes(t.until, t.from, before) {
			return nil, fmt.Errorf("messages: the chat template rewrites what comes before turn %d: give one answer a line", i+1)
		}
		before = t.until
		turns = append(turns, t)
	}
	return turns, nil
}

// renderTurn renders a conversation that ends with an answer, without and with it.
func (s *session) renderTurn(messages []json.RawMessage) (t turn, err error) {
	whole, err := json.Marshal(messages)
	if err != nil {
		return t, err
	}
	asked, err := json.Marshal(messages[:len(messages)-1])
	if err != nil {
		return t, err
	}
	if t.from, err = s.render(asked, true); err != nil {
		return t, err
	}
	t.until, err = s.render(whole, false)
	return t, err
}

// hasPrefixes tells whether all are the beginning of whole.
func hasPrefixes(whole string, all ...string) bool {
	for _, p := range all {
		if len(p) > len(whole) || whole[:len(p)] != p {
			return false
		}
	}
	return true
}

// common is the length of the beginning that two sequences share.
func common(a, b []int32) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}
