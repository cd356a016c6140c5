// Package text turns text into token ids and back: the tokenizer of a model
// folder's tokenizer.json, an incremental detokenizer for streaming, and chat
// templates. It follows the behaviour of Hugging Face's tokenizers and
// transformers libraries, and imports nothing of this project.
package text

import (
	"fmt"
	"strings"
)

// Tokenizer is the pipeline one tokenizer.json describes: added tokens,
// normalizer, pre-tokenizer, byte-pair encoding, post-processor and decoder.
// It is immutable after Parse (but for a bounded cache of encoded words) and
// safe for concurrent use. The truncation and padding sections of the file are
// not applied: lengths are the caller's business.
type Tokenizer struct {
	vocab      *vocabulary
	added      *addedTokens
	normalizer normalizer   // nil: none
	pre        preTokenizer // nil: none
	model      *bpe
	post       []templatePiece // nil: the sequence alone
	decoder    []decoderSpec
}

// piece is a stretch of text on its way to the model.
type piece struct {
	text  string
	first bool // it begins where the input text begins
}

// Encode gives the token ids of text. With special the post-processor adds
// what the file says (the beginning-of-sequence token, for instance). Added
// tokens written out in text ("<|im_end|>") are always recognised as such.
// Invalid UTF-8 is read as U+FFFD. Errors come only from the file's regular
// expressions, when one takes too long.
func (t *Tokenizer) Encode(text string, special bool) ([]int32, error) {
	spans, err := t.split(strings.ToValidUTF8(text, "\uFFFD"))
	if err != nil {
		return nil, fmt.Errorf("encode text: %w", err)
	}
	ids := make([]int32, 0, len(text)/3+4)
	for _, s := range spans {
		if s.token {
			ids = append(ids, s.id)
			continue
		}
		if ids, err = t.encodePiece(ids, s.piece); err != nil {
			return nil, fmt.Errorf("encode text: %w", err)
		}
	}
	if special && t.post != nil {
		ids = applyTemplate(t.post, ids)
	}
	return ids, nil
}

// split cuts text at its added tokens: those matched in the raw text first,
// then, in what is left and normalized, those matched in normalized text.
func (t *Tokenizer) split(text string) ([]span, error) {
	var out []span
	for _, raw := range t.added.raw.split(piece{text, true}) {
		if raw.token {
			out = append(out, raw)
			continue
		}
		if t.normalizer != nil {
			var err error
			if raw.text, err = t.normalizer.normalize(raw.text); err != nil {
				return nil, err
			}
		}
		out = append(out, t.added.normalized.split(raw.piece)...)
	}
	return out, nil
}

func (t *Tokenizer) encodePiece(ids []int32, p piece) ([]int32, error) {
	pieces := []piece{p}
	if t.pre != nil {
		var err error
		if pieces, err = t.pre.preTokenize(pieces); err != nil {
			return nil, err
		}
	}
	for _, p := range pieces {
		ids = t.model.encode(ids, p.text)
	}
	return ids, nil
}

// Decode gives the text of ids; ids without a token are passed over, and with
// skipSpecial so are special tokens. Bytes that are not UTF-8 become U+FFFD.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	s := NewStream(t, skipSpecial)
	var out strings.Builder
	for _, id := range ids {
		out.WriteString(s.Push(id))
	}
	out.WriteString(s.Flush())
	return out.String()
}

// VocabSize is the largest token id plus one: the number of rows an embedding
// needs. Ids below it may be unused.
func (t *Tokenizer) VocabSize() int { return t.vocab.size }

// Token gives the token an id stands for, as the file writes it (byte-level
// tokens in their printable form, SentencePiece ones with U+2581 for a space).
func (t *Tokenizer) Token(id int32) (string, bool) {
	token, ok := t.vocab.tokens[id]
	return token, ok
}

// ID is the inverse of Token.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.vocab.ids[token]
	return id, ok
}

// IsSpecial reports whether id is an added token marked special.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.added.special[id] }
