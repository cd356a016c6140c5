package text

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// part is a stretch of decoded text on its way through the decoders. Tokens go
// in whole; some decoders fuse all tokens into one, of which parts are then
// passed on as soon as they are certain.
type part struct {
	text       string
	begin, end bool // of a token
}

// decoderStep is one decoder at work on one sequence of tokens. What it holds
// back it must give out on flush, which ends the sequence.
type decoderStep interface {
	feed(p part, out func(part))
	flush(out func(part))
}

// decoderSpec makes the step for a new sequence.
type decoderSpec func() decoderStep

// parseDecoder reads the decoder section. Without one, tokens are joined with
// spaces.
func parseDecoder(raw json.RawMessage) ([]decoderSpec, error) {
	if isNull(raw) {
		return []decoderSpec{func() decoderStep { return &joinStep{} }}, nil
	}
	components, err := flatten(raw, "decoders")
	if err != nil {
		return nil, err
	}
	var specs []decoderSpec
	for _, c := range components {
		spec, err := newDecoder(c)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

func newDecoder(c component) (decoderSpec, error) {
	switch c.Type {
	case "ByteLevel":
		return func() decoderStep { return &byteLevelStep{} }, nil
	case "ByteFallback":
		return func() decoderStep { return &byteFallbackStep{} }, nil
	case "Fuse":
		return func() decoderStep { return &fuseStep{} }, nil
	case "Metaspace":
		m, err := parseMetaspace(c)
		return func() decoderStep { return &metaspaceStep{metaspace: m} }, err
	case "Replace":
		return newReplaceStep(c)
	case "Strip":
		return newStripStep(c)
	}
	return nil, c.unknown()
}

// joinStep puts a space between tokens.
type joinStep struct{ started bool }

func (s *joinStep) feed(p part, out func(part)) {
	if p.begin && s.started {
		p.text = " " + p.text
	}
	s.started = true
	out(p)
}

func (s *joinStep) flush(func(part)) {}

// fuseStep makes one token of all.
type fuseStep struct{ started bool }

func (s *fuseStep) feed(p part, out func(part)) {
	out(part{text: p.text, begin: !s.started})
	s.started = true
}

func (s *fuseStep) flush(out func(part)) { out(part{begin: !s.started, end: true}) }

// byteLevelStep turns byte-level tokens into their bytes, and all the bytes
// into one text; a character that is not complete yet is held back.
type byteLevelStep struct {
	token strings.Builder
	bytes []byte
	fuse  fuseStep
}

func (s *byteLevelStep) feed(p part, out func(part)) {
	s.token.WriteString(p.text)
	if !p.end {
		return
	}
	s.bytes = append(s.bytes, fromByteLevel(s.token.String())...)
	s.token.Reset()
	text, rest := lossy(s.bytes, false)
	s.bytes = append(s.bytes[:0], rest...)
	if text != "" {
		s.fuse.feed(part{text: text}, out)
	}
}

func (s *byteLevelStep) flush(out func(part)) {
	if text, _ := lossy(s.bytes, true); text != "" {
		s.fuse.feed(part{text: text}, out)
	}
	s.fuse.flush(out)
}

// byteFallbackStep joins tokens like <0xE2> to characters. A run of them that
// is not UTF-8 becomes one U+FFFD per byte, the whole run, so it is held back
// until it ends.
type byteFallbackStep struct {
	token strings.Builder
	bytes []byte
}

func (s *byteFallbackStep) feed(p part, out func(part)) {
	s.token.WriteString(p.text)
	if !p.end {
		return
	}
	token := s.token.String()
	s.token.Reset()
	if b, ok := parseByteToken(token); ok {
		s.bytes = append(s.bytes, b)
		return
	}
	s.flush(out)
	out(part{token, true, true})
}

func (s *byteFallbackStep) flush(out func(part)) {
	if len(s.bytes) == 0 {
		return
	}
	text := string(s.bytes)
	if !utf8.ValidString(text) {
		text = strings.Repeat("\uFFFD", len(s.bytes))
	}
	s.bytes = s.bytes[:0]
	out(part{text, true, true})
}

// metaspaceStep writes the visible space as a space again, and drops it in the
// first token where the pre-tokenizer may have put it.
type metaspaceStep struct {
	metaspace
	tokens int
}

func (s *metaspaceStep) feed(p part, out func(part)) {
	if p.begin {
		s.tokens++
	}
	space := " "
	if s.tokens == 1 && s.scheme != "never" {
		space = ""
	}
	p.text = strings.ReplaceAll(p.text, s.replacement, space)
	out(p)
}

func (s *metaspaceStep) flush(func(part)) {}

// replaceStep replaces matches within each token.
type replaceStep struct {
	replaceNormalizer
	held  string
	begun bool // part of the token has been passed on
}

func newReplaceStep(c component) (decoderSpec, error) {
	n, err := newReplace(c)
	if err != nil {
		return nil, err
	}
	r := n.(replaceNormalizer)
	if r.pattern.expr != nil {
		return nil, fmt.Errorf("%s: a Regex pattern in a decoder is not supported", c.Type)
	}
	return func() decoderStep { return &replaceStep{replaceNormalizer: r} }, nil
}

func (s *replaceStep) feed(p part, out func(part)) {
	text, held := s.held+p.text, ""
	if !p.end {
		text, held = s.certain(text)
	}
	if s.pattern.literal != "" {
		text = strings.ReplaceAll(text, s.pattern.literal, s.content)
	}
	s.held = held
	out(part{text, !s.begun, p.end})
	s.begun = !p.end
}

// certain cuts text before a beginning of the pattern that more text could
// complete.
func (s *replaceStep) certain(text string) (certain, held string) {
	done := lastMatchEnd(text, s.pattern.literal)
	for at := max(done, len(text)-len(s.pattern.literal)+1); at < len(text); at++ {
		if strings.HasPrefix(s.pattern.literal, text[at:]) {
			return text[:at], text[at:]
		}
	}
	return text, ""
}

// lastMatchEnd is where the last of the matches in text, taken from the left
// without overlap, ends.
func lastMatchEnd(text, literal string) int {
	end := 0
	for literal != "" {
		i := strings.Index(text[end:], literal)
		if i < 0 {
			break
		}
		end += i + len(literal)
	}
	return end
}

func (s *replaceStep) flush(func(part)) {}

// stripStep drops up to start of a character where a token begins and up to
// stop where it ends.
type stripStep struct {
	content     rune
	start, stop int
	leading     int // how many may still be dropped
	held        int // trailing ones held back
}

func newStripStep(c component) (decoderSpec, error) {
	var f struct {
		Content     string
		Start, Stop int
	}
	if err := c.fields(&f); err != nil {
		return nil, err
	}
	content, err := oneRune("content", f.Content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Type, err)
	}
	if f.Start < 0 || f.Stop < 0 {
		return nil, fmt.Errorf("%s: start %d, stop %d, want none below 0", c.Type, f.Start, f.Stop)
	}
	return func() decoderStep { return &stripStep{content: content, start: f.Start, stop: f.Stop} }, nil
}

func (s *stripStep) feed(p part, out func(part)) {
	if p.begin {
		s.leading, s.held = s.start, 0
	}
	var text strings.Builder
	for _, r := range p.text {
		if r == s.content && s.leading > 0 {
			s.leading--
			continue
		}
		s.leading = 0
		if r == s.content && s.held < s.stop {
			s.held++
			continue
		}
		if r != s.content {
			text.WriteString(strings.Repeat(string(s.content), s.held))
			s.held = 0
		}
		text.WriteRune(r)
	}
	out(part{text.String(), p.begin, p.end})
}

func (s *stripStep) flush(func(part)) {}
