package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"loquetier/engine/text"
	"loquetier/scheduler"
	"loquetier/train"
)

const chatHelp = `/use NAME     answer with an adapter; /use base without
/system TEXT  set the system message, and begin anew
/reset        forget the conversation
/help         show this
/quit         leave`

func chatCommand() *cli.Command {
	return &cli.Command{
		Name: "chat", Usage: "talk to the model, a line a turn",
		Flags: modelFlags(slices.Concat([]cli.Flag{useFlag()}, samplingFlags(512, 0.7), limitFlags(limitOptions{}))...),
		Description: `loquetier chat --model stories
loquetier chat --model DIR --adapter tuned=DIR --use tuned`,
		Action: chatAction,
	}
}

func chatAction(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	how, err := samplingOf(c)
	if err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		chat, err := s.newChat(c, how)
		if err != nil {
			return err
		}
		return chat.run(c.Context, c.App.Reader)
	})
}

// chat is a conversation over lines of text: the answers go to out,
// everything else to notes.
type chat struct {
	*session
	how        sampling
	out, notes io.Writer
	ask        string // shown before a line is read
	adapter    string
	ends       []int32
	system     []text.Message // none or one
	turns      []text.Message
}

func (s *session) newChat(c *cli.Context, how sampling) (*chat, error) {
	if err := s.checkTemplate(); err != nil {
		return nil, err
	}
	t := &chat{session: s, how: how, out: c.App.Writer, notes: c.App.ErrWriter, adapter: c.String("use"), ends: s.ends}
	if err := s.check(c.Context, t.adapter); err != nil {
		return nil, err
	}
	end, found, err := s.turnEnd()
	if err != nil {
		return nil, err
	}
	switch {
	case how.IgnoreEOS:
		t.ends = nil
	case found && !slices.Contains(t.ends, end):
		t.ends = append(slices.Clone(t.ends), end)
	}
	if isTerminal(c.App.Reader) {
		t.ask = "> "
		fmt.Fprintln(t.notes, "/help tells the commands")
	}
	return t, nil
}

// run answers lines until the input ends, /quit, or ctx is done.
func (t *chat) run(ctx context.Context, in io.Reader) error {
	input, failed := readLines(ctx, in)
	for {
		fmt.Fprint(t.notes, t.ask)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case line, more := <-input:
			if !more {
				return <-failed
			}
			if quit := t.line(ctx, strings.TrimSpace(line)); quit {
				return ctx.Err()
			}
		}
	}
}

// readLines reads in the background, so that waiting for a line can be
// interrupted. The error is there once the lines have ended.
func readLines(ctx context.Context, in io.Reader) (<-chan string, <-chan error) {
	lines, failed := make(chan string), make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, train.MaxLine)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
		if err := scanner.Err(); err != nil {
			failed <- fmt.Errorf("read the conversation: %w", err)
		}
		close(failed)
	}()
	return lines, failed
}

// line handles one line of input. What goes wrong is said, and the
// conversation goes on.
func (t *chat) line(ctx context.Context, line string) (quit bool) {
	command, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case line == "":
	case command == "/quit":
		return true
	case command == "/help":
		fmt.Fprintln(t.notes, chatHelp)
	case command == "/reset":
		t.turns = nil
	case command == "/system":
		t.turns, t.system = nil, nil
		if rest != "" {
			t.system = []text.Message{{Role: "system", Content: rest}}
		}
	case command == "/use":
		t.use(ctx, rest)
	case strings.HasPrefix(line, "/"):
		fmt.Fprintf(t.notes, "unknown command %s: /help tells the commands\n", command)
	default:
		if err := t.answer(ctx, line); err != nil && ctx.Err() == nil {
			fmt.Fprintf(t.notes, "%s\n", oneLine(err))
		}
	}
	return ctx.Err() != nil
}

func (t *chat) use(ctx context.Context, name string) {
	if name == "" {
		name = baseName
	}
	if err := t.check(ctx, name); err != nil {
		fmt.Fprintln(t.notes, oneLine(err))
		return
	}
	t.adapter = name
}

// answer prints the answer to what the user says. After an error it is as if
// nothing had been said.
func (t *chat) answer(ctx context.Context, line string) error {
	turns := append(slices.Clone(t.turns), text.Message{Role: "user", Content: line})
	p, err := t.prepareTurn(turns)
	if err != nil {
		return err
	}
	a, err := t.begin(ctx, p, func(text string) { fmt.Fprint(t.out, text) })
	if err != nil {
		return err
	}
	r := a.collect()
	fmt.Fprintln(t.out)
	if r.Finish == scheduler.Failed {
		return fmt.Errorf("the answer failed: %s", r.Error)
	}
	t.turns = append(turns, text.Message{Role: "assistant", Content: *r.Text})
	if r.Finish == scheduler.Length && len(r.PromptIDs)+len(r.Tokens) > t.engine.Context() {
		fmt.Fprintf(t.notes, "the conversation fills the context of %d tokens: /reset begins anew\n", t.engine.Context())
	}
	return nil
}

func (t *chat) prepareTurn(turns []text.Message) (prepared, error) {
	rendered, err := t.render(text.Messages(append(slices.Clone(t.system), turns...)...), true)
	if err != nil {
		return prepared{}, err
	}
	ids, err := t.encodeRendered(rendered)
	if err != nil {
		return prepared{}, err
	}
	if n := t.engine.Context(); len(ids) > n {
		return prepared{}, fmt.Errorf("the conversation has %d tokens, but the context is %d: /reset begins anew", len(ids), n)
	}
	how := t.how
	how.choose()
	bias, err := how.bias(t.engine.Model().VocabSize)
	if err != nil {
		return prepared{}, err
	}
	p := prepared{stops: how.Stop, request: scheduler.Request{
		Prompt: ids, MaxTokens: how.MaxTokens, Sampling: how.device(), Bias: bias,
		Stop: t.ends, LogProbs: -1, PromptLogProbs: -1,
	}}
	err = t.hold(&p, t.adapter)
	return p, err
}
