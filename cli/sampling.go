package cli

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/engine/batch"
)

// sampling says how to choose tokens, in the words of a requests file.
type sampling struct {
	MaxTokens   int                `json:"max_tokens"`
	Temperature float64            `json:"temperature"`
	TopK        int                `json:"top_k"`
	TopP        float64            `json:"top_p"`
	MinP        float64            `json:"min_p"`
	Repetition  float64            `json:"repetition_penalty"`
	Presence    float64            `json:"presence_penalty"`
	Frequency   float64            `json:"frequency_penalty"`
	LogitBias   map[string]float64 `json:"logit_bias"` // by token id
	Seed        *uint64            `json:"seed"`       // nil: a random one
	Stop        stopStrings        `json:"stop"`
	IgnoreEOS   bool               `json:"ignore_eos"`
}

// samplingFlags are the flags of sampling, with defaults where commands differ.
func samplingFlags(maxTokens int, temperature float64) []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "max-tokens", Value: maxTokens, Usage: "generate at most `N` tokens"},
		&cli.Float64Flag{Name: "temperature", Value: temperature, Usage: "`T` of the sampling; 0 takes the most likely token"},
		&cli.IntFlag{Name: "top-k", DefaultText: "all", Usage: "keep the `K` most likely tokens"},
		&cli.Float64Flag{Name: "top-p", Value: 1, Usage: "keep the most likely tokens that have probability `P` together"},
		&cli.Float64Flag{Name: "min-p", Usage: "keep tokens with `P` times the probability of the most likely one"},
		&cli.Float64Flag{Name: "repetition-penalty", Value: 1, Usage: "divide the logits of tokens seen before by `X`"},
		&cli.Float64Flag{Name: "presence-penalty", Usage: "take `X` off the logits of tokens generated before"},
		&cli.Float64Flag{Name: "frequency-penalty", Usage: "take `X` off for each time a token was generated"},
		&cli.StringFlag{Name: "logit-bias", Usage: "`JSON` object of token ids and what to add to their logits, as in {\"12\": -100}"},
		&cli.Uint64Flag{Name: "seed", DefaultText: "random", Usage: "`S` of the sampling: the same seed gives the same text"},
		&cli.StringSliceFlag{Name: "stop", KeepSpace: true, Usage: "`TEXT` that ends the output, and is no part of it; repeatable"},
		&cli.BoolFlag{Name: "ignore-eos", DisableDefaultText: true, Usage: "go on after the model's end of text"},
	}
}

// samplingOf reads samplingFlags.
func samplingOf(c *cli.Context) (sampling, error) {
	s := sampling{
		MaxTokens: c.Int("max-tokens"), Temperature: c.Float64("temperature"),
		TopK: c.Int("top-k"), TopP: c.Float64("top-p"), MinP: c.Float64("min-p"),
		Repetition: c.Float64("repetition-penalty"), Presence: c.Float64("presence-penalty"),
		Frequency: c.Float64("frequency-penalty"), Stop: c.StringSlice("stop"), IgnoreEOS: c.Bool("ignore-eos"),
	}
	if c.IsSet("seed") {
		seed := c.Uint64("seed")
		s.Seed = &seed
	}
	if bias := c.String("logit-bias"); bias != "" {
		if err := json.Unmarshal([]byte(bias), &s.LogitBias); err != nil {
			return s, usagef(`--logit-bias %s: it takes a JSON object like {"12": -100}`, bias)
		}
	}
	if s.MaxTokens < 0 {
		return s, usagef("--max-tokens %d: it takes 0 or more", s.MaxTokens)
	}
	if err := engine.CheckSampling(s.device()); err != nil {
		return s, usageError{err}
	}
	if err := s.Stop.check(); err != nil {
		return s, usageError{err}
	}
	return s, nil
}

// coldest is the least temperature that is more than 0: below it, where
// logits divided by it would not fit a float32, the most likely token is certain.
const coldest = 1e-5

// device is what the engine needs to know, bias and stops apart.
func (s *sampling) device() batch.Sampling {
	out := batch.Sampling{
		Temperature: float32(s.Temperature), TopK: s.TopK, TopP: float32(s.TopP), MinP: float32(s.MinP),
		Repetition: float32(s.Repetition), Presence: float32(s.Presence), Frequency: float32(s.Frequency),
	}
	if s.Temperature > 0 && s.Temperature < coldest {
		out.Temperature = 0
	}
	if s.Seed != nil {
		out.Seed = *s.Seed
	}
	return out
}

// choose draws a seed where one is needed and none is given. It fits a
// double exactly, so that every reader of JSON can give it back.
func (s *sampling) choose() {
	if s.Seed == nil && s.Temperature > 0 {
		seed := rand.Uint64N(1 << 53)
		s.Seed = &seed
	}
}

// bias is the logit bias by token id.
func (s *sampling) bias(vocabulary int) (map[int32]float32, error) {
	if len(s.LogitBias) == 0 {
		return nil, nil
	}
	out := make(map[int32]float32, len(s.LogitBias))
	for key, value := range s.LogitBias {
		id, err := strconv.Atoi(key)
		if err != nil {
			return nil, fmt.Errorf("logit_bias: %q is not a token id", key)
		}
		if err := checkToken(int64(id), vocabulary); err != nil {
			return nil, fmt.Errorf("logit_bias: %w", err)
		}
		edit := batch.Edit{Token: int32(id), Bias: float32(value)}
		check := batch.Greedy()
		check.Edits = []batch.Edit{edit}
		if err := engine.CheckSampling(check); err != nil {
			return nil, err
		}
		out[edit.Token] = edit.Bias
	}
	return out, nil
}

// checkToken refuses ids that the model has no embedding for.
func checkToken(id int64, vocabulary int) error {
	if id < 0 || id >= int64(vocabulary) {
		return fmt.Errorf("token id %d is outside the vocabulary of %d", id, vocabulary)
	}
	return nil
}
