package text

import "strings"

// Stream decodes one sequence of ids as they come. It is not safe for
// concurrent use.
type Stream struct {
	tokenizer   *Tokenizer
	skipSpecial bool
	steps       []decoderStep
}

// NewStream begins a sequence; skipSpecial leaves special tokens out.
func NewStream(t *Tokenizer, skipSpecial bool) *Stream {
	s := &Stream{tokenizer: t, skipSpecial: skipSpecial, steps: make([]decoderStep, len(t.decoder))}
	s.reset()
	return s
}

func (s *Stream) reset() {
	for i, spec := range s.tokenizer.decoder {
		s.steps[i] = spec()
	}
}

// Push gives the text that id makes certain: whole characters only, often none
// and sometimes several tokens' worth. All that Push gave, and then Flush, is
// what Decode gives for the same ids.
func (s *Stream) Push(id int32) string {
	token, ok := s.tokenizer.Token(id)
	if !ok || s.skipSpecial && s.tokenizer.IsSpecial(id) {
		return ""
	}
	var out strings.Builder
	s.feed(0, part{token, true, true}, &out)
	return out.String()
}

// Flush ends the sequence and gives what was held back: nothing, unless it
// ended within a character. What is pushed after it is a new sequence.
func (s *Stream) Flush() string {
	var out strings.Builder
	for i, step := range s.steps {
		step.flush(func(p part) { s.feed(i+1, p, &out) })
	}
	s.reset()
	return out.String()
}

// feed passes p through the steps from number i on.
func (s *Stream) feed(i int, p part, out *strings.Builder) {
	if i == len(s.steps) {
		out.WriteString(p.text)
		return
	}
	s.steps[i].feed(p, func(p part) { s.feed(i+1, p, out) })
}
