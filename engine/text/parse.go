package text

import (
	"encoding/json"
	"fmt"
	"strings"
)

// tokenizerFile is tokenizer.json; the sections are read one by one so that an
// error can name its section.
type tokenizerFile struct {
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// modelFile is the model section.
type modelFile struct {
	Type         string
	Vocab        json.RawMessage
	Merges       json.RawMessage
	Dropout      *float64
	UnkToken     *string `json:"unk_token"`
	Prefix       *string `json:"continuing_subword_prefix"`
	Suffix       *string `json:"end_of_word_suffix"`
	FuseUnk      bool    `json:"fuse_unk"`
	ByteFallback bool    `json:"byte_fallback"`
	IgnoreMerges bool    `json:"ignore_merges"`
}

// Parse reads a tokenizer.json. Errors name the file, the section and, where a
// component is of a kind this package does not implement, that kind: a
// tokenizer is either right or refused.
func Parse(data []byte) (*Tokenizer, error) {
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	return t, nil
}

func parse(data []byte) (*Tokenizer, error) {
	var f tokenizerFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	t := &Tokenizer{}
	var err error
	if t.model, t.vocab, err = parseModel(f.Model); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if t.normalizer, err = parseNormalizer(f.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if t.added, err = newAddedTokens(f.AddedTokens, t.vocab, t.normalizer); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	if t.pre, err = parsePreTokenizer(f.PreTokenizer); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if t.post, err = parsePostProcessor(f.PostProcessor, t.vocab); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	if t.decoder, err = parseDecoder(f.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	return t, nil
}

func parseModel(raw json.RawMessage) (*bpe, *vocabulary, error) {
	if isNull(raw) {
		return nil, nil, fmt.Errorf("missing")
	}
	var f modelFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, nil, err
	}
	if err := f.check(); err != nil {
		return nil, nil, err
	}
	var ids map[string]int32
	if err := json.Unmarshal(f.Vocab, &ids); err != nil {
		return nil, nil, fmt.Errorf("vocab: %w", err)
	}
	v, err := newVocabulary(ids)
	if err != nil {
		return nil, nil, fmt.Errorf("vocab: %w", err)
	}
	m := &bpe{
		ids: ids, bytes: v.byteTokens(), unk: -1, cache: newWordCache(),
		byteFallback: f.ByteFallback, fuseUnk: f.FuseUnk, ignoreMerges: f.IgnoreMerges,
	}
	if f.UnkToken != nil {
		id, ok := ids[*f.UnkToken]
		if !ok {
			return nil, nil, fmt.Errorf("unk_token %q is not in vocab", *f.UnkToken)
		}
		m.unk = id
	}
	if m.merges, err = parseMerges(f.Merges, ids); err != nil {
		return nil, nil, fmt.Errorf("merges: %w", err)
	}
	return m, v, nil
}

// check refuses what the model section may ask for and bpe does not do. Files
// from before "type" was written have none.
func (f modelFile) check() error {
	switch {
	case f.Type != "" && f.Type != "BPE":
		return fmt.Errorf("type %q is not supported", f.Type)
	case isNull(f.Vocab):
		return fmt.Errorf("vocab: missing")
	case isNull(f.Merges):
		return fmt.Errorf("merges: missing")
	case f.Dropout != nil && *f.Dropout != 0:
		return fmt.Errorf("dropout %v is not supported", *f.Dropout)
	case f.Prefix != nil && *f.Prefix != "":
		return fmt.Errorf("continuing_subword_prefix %q is not supported", *f.Prefix)
	case f.Suffix != nil && *f.Suffix != "":
		return fmt.Errorf("end_of_word_suffix %q is not supported", *f.Suffix)
	}
	return nil
}

// mergeRule is one merge, written "a b" or ["a", "b"].
type mergeRule struct{ left, right string }

func (r *mergeRule) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		var parts []string
		if err := json.Unmarshal(data, &parts); err != nil {
			return err
		}
		if len(parts) != 2 {
			return fmt.Errorf("a merge of %d tokens, want 2", len(parts))
		}
		r.left, r.right = parts[0], parts[1]
		return nil
	}
	var both string
	if err := json.Unmarshal(data, &both); err != nil {
		return err
	}
	left, right, ok := strings.Cut(both, " ")
	if !ok || strings.Contains(right, " ") {
		return fmt.Errorf("merge %q, want two tokens with a space between", both)
	}
	r.left, r.right = left, right
	return nil
}

// parseMerges gives each pair its rank, the place in the file. A pair listed
// twice keeps its last rank, as in Hugging Face's.
func parseMerges(raw json.RawMessage, ids map[string]int32) (map[pair]merge, error) {
	var rules []mergeRule
	if err := json.Unmarshal(raw, &rules); err != nil {
		return nil, err
	}
	merges := make(map[pair]merge, len(rules))
	for rank, r := range rules {
		var found [3]int32
		for i, token := range [3]string{r.left, r.right, r.left + r.right} {
			id, ok := ids[token]
			if !ok {
				return nil, fmt.Errorf("merge %d (%q, %q): token %q is not in vocab", rank, r.left, r.right, token)
			}
			found[i] = id
		}
		merges[pair{found[0], found[1]}] = merge{int32(rank), found[2]}
	}
	return merges, nil
}
