package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"loquetier/engine"
	"loquetier/scheduler"
	"loquetier/train"
	"loquetier/virtualmod"
)

// wireRequest is a line of a requests file.
type wireRequest struct {
	ID      json.RawMessage `json:"id"`
	Adapter *string         `json:"adapter"` // nil: the base
	Prompt  json.RawMessage `json:"prompt"`  // text or token ids
	sampling
	LogProbs       *int `json:"logprobs"`
	PromptLogProbs *int `json:"prompt_logprobs"`
}

// fresh is a copy that shares nothing a line's fields could be written to.
func (w wireRequest) fresh() wireRequest {
	w.Adapter, w.Seed = copied(w.Adapter), copied(w.Seed)
	w.LogProbs, w.PromptLogProbs = copied(w.LogProbs), copied(w.PromptLogProbs)
	w.LogitBias, w.Stop = maps.Clone(w.LogitBias), slices.Clone(w.Stop)
	return w
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// parseRequest reads a line; what it does not say is as in defaults.
func parseRequest(line []byte, defaults wireRequest) (wireRequest, error) {
	w := defaults.fresh()
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&w); err != nil {
		return w, train.JSONError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return w, errors.New("more than one JSON value")
	}
	return w, nil
}

// readableID is the id of a line that is not a request, nil where none comes
// before what is wrong with the line.
func readableID(line []byte) json.RawMessage {
	decoder := json.NewDecoder(bytes.NewReader(line))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return nil
	}
	for decoder.More() {
		var value json.RawMessage
		key, err := decoder.Token()
		if err != nil || decoder.Decode(&value) != nil {
			return nil
		}
		if key == "id" {
			return value
		}
	}
	return nil
}

// prepared is a request that can be submitted, and what its reply repeats.
type prepared struct {
	id      json.RawMessage
	adapter *string
	seed    *uint64
	stops   stopStrings
	request scheduler.Request
	claim   *virtualmod.Claim // the request's Adapter
}

// prepare resolves names and text. The error says what is wrong with the request.
// It claims the request's adapter, which begin takes over.
func (s *session) prepare(w wireRequest) (prepared, error) {
	w.choose()
	p := prepared{id: w.ID, adapter: w.Adapter, seed: w.Seed, stops: w.Stop}
	if w.Temperature == 0 {
		p.seed = nil
	}
	r := scheduler.Request{MaxTokens: w.MaxTokens, Sampling: w.device()}
	if !w.IgnoreEOS {
		r.Stop = s.ends
	}
	var err error
	if r.Prompt, err = s.prompt(w.Prompt); err != nil {
		return p, err
	}
	if r.Bias, err = w.bias(s.engine.Model().VocabSize); err != nil {
		return p, err
	}
	if r.LogProbs, err = s.topN("logprobs", w.LogProbs); err != nil {
		return p, err
	}
	if r.PromptLogProbs, err = s.topN("prompt_logprobs", w.PromptLogProbs); err != nil {
		return p, err
	}
	if err := s.checkText(w); err != nil {
		return p, err
	}
	p.request = r
	adapter := baseName
	if w.Adapter != nil {
		adapter = *w.Adapter
	}
	err = s.hold(&p, adapter)
	return p, err
}

// checkText checks what is not the scheduler's to check.
func (s *session) checkText(w wireRequest) error {
	if err := engine.CheckSampling(w.device()); err != nil {
		return err
	}
	if err := w.Stop.check(); err != nil {
		return err
	}
	if len(w.Stop) > 0 && s.text == nil {
		return errors.New("stop needs text, but the model has no tokenizer.json")
	}
	return nil
}

func (s *session) topN(field string, n *int) (int, error) {
	most := min(engine.MaxTopN, s.engine.Model().VocabSize)
	switch {
	case n == nil:
		return -1, nil
	case *n < 0 || *n > most:
		return 0, fmt.Errorf("%s %d: it takes 0 to %d", field, *n, most)
	}
	return *n, nil
}

// prompt reads a prompt, text or token ids.
func (s *session) prompt(raw json.RawMessage) ([]int32, error) {
	var text *string
	if json.Unmarshal(raw, &text) == nil && text != nil {
		return s.encode(*text)
	}
	if len(raw) == 0 || text == nil && string(raw) == "null" {
		return nil, errors.New(`field "prompt" is missing: give text or a list of token ids`)
	}
	var ids []int64
	if json.Unmarshal(raw, &ids) != nil {
		return nil, errors.New(`field "prompt": it takes text or a list of token ids`)
	}
	return s.checkedIDs(ids)
}

// encode gives a text's ids, with begin-of-text as the tokenizer says.
func (s *session) encode(text string) ([]int32, error) {
	if text == "" {
		return nil, scheduler.ErrEmptyPrompt
	}
	if s.text == nil {
		return nil, errors.New("the model has no tokenizer.json: give the prompt as token ids")
	}
	ids, err := s.text.Tokenizer.Encode(text, true)
	if err != nil {
		return nil, err
	}
	return ids, s.checkIDs(ids)
}

func (s *session) checkedIDs(ids []int64) ([]int32, error) {
	out := make([]int32, len(ids))
	for i, id := range ids {
		if err := checkToken(id, s.engine.Model().VocabSize); err != nil {
			return nil, err
		}
		out[i] = int32(id)
	}
	return out, nil
}

// checkIDs refuses ids of a tokenizer that has more tokens than the model.
func (s *session) checkIDs(ids []int32) error {
	for _, id := range ids {
		if err := checkToken(int64(id), s.engine.Model().VocabSize); err != nil {
			return err
		}
	}
	return nil
}
