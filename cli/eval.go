package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/urfave/cli/v2"

	"loquetier/engine/batch"
	"loquetier/scheduler"
	"loquetier/train"
	"loquetier/virtualmod"
)

func evalCommand() *cli.Command {
	return &cli.Command{
		Name: "eval", Usage: "measure the loss on a data set",
		Flags: modelFlags(
			useFlag(),
			&cli.StringFlag{Name: "data", Usage: "`FILE`: .txt, or .jsonl with text, prompt and completion, messages, or ids"},
			&cli.IntFlag{Name: "block", DefaultText: "none", Usage: "cut a .txt into blocks of `N` tokens"},
			&cli.IntFlag{Name: "max-blocks", DefaultText: "all", Usage: "stop after `N` blocks or lines"},
			&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print a JSON object"},
		),
		Description: `loquetier eval --model stories --data story.txt --block 128
loquetier eval --model DIR --adapter tuned=DIR --use tuned --data questions.jsonl --json`,
		Action: evalAction,
	}
}

// evaluation is the loss over a data set: the mean negative log-likelihood
// of all targets, each sequence by itself, in nats.
type evaluation struct {
	Loss       float64 `json:"loss"`
	Perplexity float64 `json:"perplexity"`
	Targets    int     `json:"targets"`
}

func evalAction(c *cli.Context) error {
	if err := checkEval(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		e, err := s.evaluateFile(c)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return json.NewEncoder(c.App.Writer).Encode(e)
		}
		_, err = fmt.Fprintf(c.App.Writer, "loss %.6f, perplexity %.4f, %d targets\n", e.Loss, e.Perplexity, e.Targets)
		return err
	})
}

func checkEval(c *cli.Context) error {
	switch {
	case c.String("model") == "":
		return missing(c, "model")
	case c.String("data") == "":
		return missing(c, "data")
	case c.IsSet("block") && c.Int("block") < 2:
		return usagef("--block %d: it takes 2 or more", c.Int("block"))
	case c.IsSet("max-blocks") && c.Int("max-blocks") < 1:
		return usagef("--max-blocks %d: it takes 1 or more", c.Int("max-blocks"))
	}
	return noArguments(c)
}

func (s *session) evaluateFile(c *cli.Context) (evaluation, error) {
	claim, err := s.acquire(c.Context, c.String("use"))
	if err != nil {
		return evaluation{}, err
	}
	defer claim.Release()
	if block, most := c.Int("block"), s.engine.Context(); block > most {
		return evaluation{}, fmt.Errorf("--block %d: the context is %d tokens", block, most)
	}
	data, err := s.reader(c.Int("block")).Read(c.String("data"))
	if errors.Is(err, train.ErrNoBlock) {
		return evaluation{}, usagef("%w", err)
	}
	if err != nil {
		return evaluation{}, err
	}
	e, err := s.evaluate(c.Context, claim, first(data, c.Int("max-blocks")))
	if err == nil && e.Targets == 0 {
		err = fmt.Errorf("%s: no targets: every sequence needs a token after its first one or its prompt", c.String("data"))
	}
	return e, err
}

// first is at most n examples, all where n is 0.
func first(data iter.Seq2[train.Example, error], n int) iter.Seq2[train.Example, error] {
	return func(yield func(train.Example, error) bool) {
		taken := 0
		for e, err := range data {
			if taken++; !yield(e, err) || taken == n {
				return
			}
		}
	}
}

// reader reads data sets for the session's model.
func (s *session) reader(block int) train.Reader {
	return train.Reader{Text: s.text, Vocabulary: s.engine.Model().VocabSize, Block: block}
}

// share is what a sequence adds to the loss.
type share struct {
	sum     float64
	targets int
	err     error
}

// evaluate measures the loss of an adapter over examples, many in a step.
func (s *session) evaluate(ctx context.Context, claim *virtualmod.Claim, data iter.Seq2[train.Example, error]) (evaluation, error) {
	var total share
	err := ordered(ctx, max(16, s.engine.MaxRows()/8), func(start func(<-chan share) bool) error {
		number := 0
		for e, err := range data {
			if number++; err != nil {
				return err
			}
			part, err := s.score(ctx, claim, e)
			if err != nil {
				return fmt.Errorf("sequence %d: %w", number, err)
			}
			if !start(part) {
				break
			}
		}
		return nil
	}, func(part share) error {
		total.sum += part.sum
		total.targets += part.targets
		return part.err
	})
	if total.targets == 0 || err != nil {
		return evaluation{}, err
	}
	loss := total.sum / float64(total.targets)
	return evaluation{Loss: loss, Perplexity: math.Exp(loss), Targets: total.targets}, nil
}

// score begins to score an example.
func (s *session) score(ctx context.Context, claim *virtualmod.Claim, e train.Example) (<-chan share, error) {
	if len(e.IDs) < 2 {
		return ready(share{}), nil
	}
	events, err := s.scheduler.Submit(ctx, scheduler.Request{Slot: claim.Slot(), Version: claim.Version(), Prompt: e.IDs, Sampling: batch.Greedy(), LogProbs: -1, PromptLogProbs: 0})
	if err != nil {
		return nil, err
	}
	return working(func() share { return shareOf(e, events) }), nil
}

// shareOf adds up the targets' scores: of token i at i-1.
func shareOf(e train.Example, events <-chan scheduler.Event) share {
	var out share
	for event := range events {
		if event.Err != nil {
			out.err = event.Err
			continue
		}
		for i, pick := range event.Prompt {
			if e.Targets[i+1] {
				out.sum -= float64(pick.LogProb)
				out.targets++
			}
		}
	}
	return out
}
