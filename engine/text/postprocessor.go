package text

import (
	"encoding/json"
	"fmt"
)

// maxTemplate bounds the pieces of a post-processor's template and the ids of
// one of its special tokens.
const maxTemplate = 1024

// templatePiece is ids to add, or the place of the encoded text.
type templatePiece struct {
	ids      []int32
	sequence bool
}

func applyTemplate(template []templatePiece, ids []int32) []int32 {
	out := make([]int32, 0, len(ids)+len(template))
	for _, p := range template {
		if p.sequence {
			out = append(out, ids...)
		} else {
			out = append(out, p.ids...)
		}
	}
	return out
}

// parsePostProcessor reads the post_processor section, as far as it concerns
// one sequence. ByteLevel only moves offsets, which are not kept here.
func parsePostProcessor(raw json.RawMessage, v *vocabulary) ([]templatePiece, error) {
	if isNull(raw) {
		return nil, nil
	}
	components, err := flatten(raw, "processors")
	if err != nil {
		return nil, err
	}
	var template []templatePiece
	for _, c := range components {
		switch {
		case c.Type == "ByteLevel":
		case c.Type != "TemplateProcessing":
			return nil, c.unknown()
		case template != nil:
			return nil, fmt.Errorf("more than one TemplateProcessing is not supported")
		default:
			if template, err = parseTemplate(c, v); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Type, err)
			}
		}
	}
	return template, nil
}

func parseTemplate(c component, v *vocabulary) ([]templatePiece, error) {
	var f struct {
		Single []struct {
			SpecialToken *struct{ ID string }
			Sequence     *struct{ ID string }
		}
		SpecialTokens map[string]struct{ IDs []int32 } `json:"special_tokens"`
	}
	if err := json.Unmarshal(c.raw, &f); err != nil {
		return nil, err
	}
	if len(f.Single) > maxTemplate {
		return nil, fmt.Errorf("single: %d pieces, want at most %d", len(f.Single), maxTemplate)
	}
	template := []templatePiece{}
	for i, p := range f.Single {
		switch {
		case p.Sequence != nil && p.SpecialToken == nil && p.Sequence.ID == "A":
			template = append(template, templatePiece{sequence: true})
		case p.SpecialToken != nil && p.Sequence == nil:
			token, ok := f.SpecialTokens[p.SpecialToken.ID]
			if !ok {
				return nil, fmt.Errorf("single[%d]: %q is not in special_tokens", i, p.SpecialToken.ID)
			}
			if err := checkTemplateIDs(token.IDs, v); err != nil {
				return nil, fmt.Errorf("special_tokens: %q: %w", p.SpecialToken.ID, err)
			}
			template = append(template, templatePiece{ids: token.IDs})
		default:
			return nil, fmt.Errorf("single[%d]: want a SpecialToken or Sequence A", i)
		}
	}
	return template, nil
}

func checkTemplateIDs(ids []int32, v *vocabulary) error {
	if len(ids) > maxTemplate {
		return fmt.Errorf("%d ids, want at most %d", len(ids), maxTemplate)
	}
	for _, id := range ids {
		if _, ok := v.tokens[id]; !ok {
			return fmt.Errorf("id %d is no token", id)
		}
	}
	return nil
}
