package cli

import (
	"strings"

	"loquetier/engine/text"
)

// transcript turns an output's tokens into text as they come: whole
// characters only, and nothing that may turn out to be a stop string.
type transcript struct {
	stream *text.Stream // nil: no tokenizer, no text
	stops  stopStrings
	emit   func(string) // takes the text that is certain; may be nil
	held   string
	text   strings.Builder
}

// before is the number of tokens before the output that may change how its
// first token is written: a space that is only dropped at the very beginning, the
// bytes of one character.
const before = 8

// newTranscript begins the text that follows a prompt.
func newTranscript(x *text.Text, prompt []int32, stops stopStrings, emit func(string)) *transcript {
	t := &transcript{stops: stops, emit: emit}
	if x == nil {
		return t
	}
	t.stream = text.NewStream(x.Tokenizer, true)
	for _, id := range prompt[max(0, len(prompt)-before):] {
		t.stream.Push(id)
	}
	return t
}

// push takes a token; it says whether a stop string is complete, after which
// nothing may be pushed.
func (t *transcript) push(id int32) (stopped bool) {
	if t.stream == nil {
		return false
	}
	return t.add(t.stream.Push(id))
}

func (t *transcript) add(text string) (stopped bool) {
	t.held += text
	kept, stopped := t.stops.find(t.held)
	if stopped {
		t.write(kept)
		t.held = ""
		return true
	}
	certain := len(t.held) - t.stops.held(t.held)
	t.write(t.held[:certain])
	t.held = t.held[certain:]
	return false
}

// end gives out what was held back when the tokens end for another reason
// than a stop string. It says whether what came last completed one.
func (t *transcript) end() (stopped bool) {
	if t.stream != nil && t.add(t.stream.Flush()) {
		return true
	}
	t.write(t.held)
	t.held = ""
	return false
}

func (t *transcript) write(text string) {
	if text == "" {
		return
	}
	t.text.WriteString(text)
	if t.emit != nil {
		t.emit(text)
	}
}
