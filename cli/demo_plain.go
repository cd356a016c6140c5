package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"loquetier/train"
)

// demoPlain shows the demo as lines, each with the name of its stream.
type demoPlain struct {
	out   io.Writer
	names []string
	width int // of the names
	lines []string
}

// lineWidth is where the lines of the plain demo are broken, in bytes.
const lineWidth = 72

func newDemoPlain(out io.Writer, names []string) *demoPlain {
	p := &demoPlain{out: out, names: names, lines: make([]string, len(names))}
	for _, n := range names {
		p.width = max(p.width, len(n))
	}
	return p
}

func (p *demoPlain) run(_ context.Context, updates <-chan demoUpdate, summary func() demoSummary) error {
	if _, err := fmt.Fprintf(p.out, "%s ...\n", demoPrompt); err != nil {
		return err
	}
	var failed error
	for u := range updates {
		if err := firstError(demoError(u), p.show(u)); err != nil && failed == nil {
			failed = err
		}
	}
	if failed != nil {
		return failed
	}
	_, err := fmt.Fprintln(p.out, summary())
	return err
}

// show prints the lines that are complete.
func (p *demoPlain) show(u demoUpdate) error {
	if u.train != nil {
		return p.showTraining(u)
	}
	line := p.lines[u.stream] + u.text
	for {
		cut := strings.IndexByte(line, '\n')
		if cut < 0 && len(line) > lineWidth {
			cut = strings.LastIndexByte(line[:lineWidth], ' ')
		}
		if cut < 0 {
			break
		}
		if err := p.print(u.stream, line[:cut]); err != nil {
			return err
		}
		line = line[cut+1:]
	}
	p.lines[u.stream] = line
	if u.reply == nil {
		return nil
	}
	return p.print(u.stream, line)
}

// showTraining prints every tenth share of the training.
func (p *demoPlain) showTraining(u demoUpdate) error {
	switch e := u.train; {
	case e.Kind == train.StepDone && (e.Step%max(1, e.Steps/10) == 0 || e.Step+1 == e.Steps):
		return p.print(u.stream, fmt.Sprintf("(in training) step %d of %d, loss %.2f", e.Step+1, e.Steps, float64(e.Record.Loss)))
	case e.Complete():
		return p.print(u.stream, "(trained, and published)")
	}
	return nil
}

func (p *demoPlain) print(stream int, line string) error {
	if strings.TrimSpace(line) == "" {
		return nil
	}
	_, err := fmt.Fprintf(p.out, "%-*s | %s\n", p.width, p.names[stream], line)
	return err
}
