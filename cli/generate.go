package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/scheduler"
	"loquetier/train"
)

func generateCommand() *cli.Command {
	own := []cli.Flag{
		&cli.StringFlag{Name: "prompt", Usage: "`TEXT` to continue"},
		useFlag(),
		&cli.StringFlag{Name: "requests", Usage: "`FILE.jsonl` of requests, one a line, that run together; flags give their defaults"},
		&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print one JSON object instead of text"},
		&cli.IntFlag{Name: "logprobs", DefaultText: "none", Usage: "tell each token's log-probability and the `N` most likely tokens"},
		&cli.IntFlag{Name: "prompt-logprobs", DefaultText: "none", Usage: "tell the log-probability of each token of the prompt, and the `N` most likely tokens"},
	}
	return &cli.Command{
		Name: "generate", Usage: "continue a prompt, or all prompts of a file in one batch",
		Flags: modelFlags(slices.Concat(own, samplingFlags(128, 0), limitFlags(limitOptions{}))...),
		Description: `loquetier generate --model stories --prompt 'Once upon a time' --temperature 0.7
loquetier generate --model stories --prompt 'Once upon a time' --use stories/upper --json
loquetier generate --model DIR --adapter a=DIR --adapter b=DIR --requests requests.jsonl`,
		Action: generate,
	}
}

func generate(c *cli.Context) error {
	defaults, err := defaultsOf(c)
	if err != nil {
		return err
	}
	if c.IsSet("requests") {
		return generateFile(c, defaults)
	}
	return withSession(c, func(s *session) error { return s.generateOne(c, defaults) })
}

// defaultsOf reads the flags of generate as a request.
func defaultsOf(c *cli.Context) (wireRequest, error) {
	var w wireRequest
	if err := noArguments(c); err != nil {
		return w, err
	}
	var err error
	if w.sampling, err = samplingOf(c); err != nil {
		return w, err
	}
	for name, to := range map[string]**int{"logprobs": &w.LogProbs, "prompt-logprobs": &w.PromptLogProbs} {
		if c.IsSet(name) {
			n := c.Int(name)
			*to = &n
		}
	}
	if use := c.String("use"); use != "" && use != baseName {
		w.Adapter = &use
	}
	return w, checkGenerate(c)
}

func checkGenerate(c *cli.Context) error {
	prompt, file, plain := c.IsSet("prompt"), c.IsSet("requests"), !c.Bool("json")
	switch {
	case c.String("model") == "":
		return missing(c, "model")
	case prompt && file:
		return usagef("--prompt and --requests exclude each other")
	case !prompt && !file:
		return usagef("--prompt or --requests is missing: run '%s --help'", c.Command.HelpName)
	case prompt && plain && (c.IsSet("logprobs") || c.IsSet("prompt-logprobs")):
		return usagef("--logprobs and --prompt-logprobs need --json")
	}
	for _, name := range []string{"logprobs", "prompt-logprobs"} {
		if n := c.Int(name); n < 0 || n > engine.MaxTopN {
			return usagef("--%s %d: it takes 0 to %d", name, n, engine.MaxTopN)
		}
	}
	return nil
}

// generateOne continues --prompt.
func (s *session) generateOne(c *cli.Context, w wireRequest) error {
	var err error
	if w.Prompt, err = json.Marshal(c.String("prompt")); err != nil {
		return err
	}
	p, err := s.prepare(w)
	if err != nil {
		return err
	}
	var emit func(string)
	if !c.Bool("json") {
		emit = func(text string) { fmt.Fprint(c.App.Writer, text) }
	}
	a, err := s.begin(c.Context, p, emit)
	if err != nil {
		return err
	}
	r := a.collect()
	if emit == nil {
		err = newReplyWriter(c.App.Writer).Encode(r)
	} else {
		_, err = fmt.Fprintln(c.App.Writer)
	}
	if r.Finish == scheduler.Failed {
		return errors.New(r.Error)
	}
	return err
}

// newReplyWriter writes replies, one a line.
func newReplyWriter(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// generateFile answers the requests of a file.
func generateFile(c *cli.Context, defaults wireRequest) error {
	file, err := train.OpenLines(c.String("requests"))
	if err != nil {
		return err
	}
	return errors.Join(withSession(c, func(s *session) error { return s.generateLines(c, file, defaults) }), file.Close())
}

// generateLines answers the requests of all lines, as many together as the
// scheduler can use, and prints the replies in order, each as soon as it and
// those before it are complete.
func (s *session) generateLines(c *cli.Context, file *train.Lines, defaults wireRequest) error {
	out, all, bad := newReplyWriter(c.App.Writer), 0, 0
	err := ordered(c.Context, 2*s.engine.MaxRows(), func(start func(<-chan reply) bool) error {
		for {
			line, err := file.Next()
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil && !errors.Is(err, train.ErrLongLine):
				return err
			}
			if !start(s.startLine(c, file, line, err, defaults)) {
				return nil
			}
		}
	}, func(r reply) error {
		all++
		if r.Finish == scheduler.Failed {
			bad++
		}
		return out.Encode(r)
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d requests failed: see \"error\" in their lines", bad, all)
	}
	return err
}

// startLine submits the request of a line. What is wrong with it is its reply.
func (s *session) startLine(c *cli.Context, file *train.Lines, line []byte, err error, defaults wireRequest) <-chan reply {
	var w wireRequest
	if err == nil {
		w, err = parseRequest(line, defaults)
	}
	if err != nil {
		return ready(failed(prepared{id: readableID(line)}, file.Errorf(err)))
	}
	p, err := s.prepare(w)
	if err != nil {
		return ready(failed(p, file.Errorf(err)))
	}
	a, err := s.begin(c.Context, p, nil)
	if err != nil {
		return ready(failed(p, file.Errorf(err)))
	}
	return working(a.collect)
}
