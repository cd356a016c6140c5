package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"loquetier/models"
	"loquetier/scheduler"
)

// What the demo shows: the same prompt, continued by the base and by each
// embedded adapter.
const (
	demoPrompt      = "Once upon a time"
	demoTokens      = 120
	demoTemperature = 0.7
	demoSeed        = 7
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "show the embedded model and its adapters at work in one batch",
		Flags:       deviceFlags(),
		Description: "loquetier demo",
		Action:      demoAction,
	}
}

func demoAction(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	o := modelOptions{
		model: stories, device: c.String("device"), dtype: c.String("dtype"), family: c.String("family"),
		context: c.Int("context"), cacheTokens: c.Int("cache-tokens"), slots: c.Int("slots"), profile: c.Bool("profile"),
		log: logOptions{c.String("log-level"), c.String("log-format")},
	}
	if err := o.check(c); err != nil {
		return err
	}
	return open(c, o, func(s *session) error { return s.demo(c) })
}

// demoUpdate is what happened to one stream of the demo.
type demoUpdate struct {
	stream int
	text   string // new text
	reply  *reply // with the last update
}

// demoSummary is what the demo says in the end.
type demoSummary struct {
	streams, tokens int
	took            time.Duration
	counts          counts
	device          string
}

func (d demoSummary) String() string {
	return fmt.Sprintf("%d streams, one batch: %d tokens in %.2f s, %.0f tokens/s. %d steps, %d of them shared by several adapters, up to %d in one (the base counted). Device: %s",
		d.streams, d.tokens, d.took.Seconds(), float64(d.tokens)/d.took.Seconds(), d.counts.Steps, d.counts.Shared, d.counts.Most, d.device)
}

// demoView shows the demo. run returns when the updates have ended, ctx is done
// or the user has seen enough; it returns the first stream's error, if one failed.
type demoView interface {
	run(ctx context.Context, updates <-chan demoUpdate, summary func() demoSummary) error
}

func (s *session) demo(c *cli.Context) error {
	names := []string{baseName}
	for _, a := range models.Adapters() {
		names = append(names, stories+"/"+a)
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel() // a view may end before the streams
	start := time.Now()
	answers, updates, err := s.beginDemo(ctx, names)
	if err != nil {
		return err
	}
	done := collectDemo(answers, updates)
	// The last row of a prompt and every row after it gave a token.
	tokens := func() int { return s.engine.counts().Rows - len(answers)*len(answers[0].request.Prompt) + len(answers) }
	var view demoView = newDemoPlain(c.App.Writer, names)
	if isTerminal(c.App.Writer) {
		view = newDemoScreen(c, names)
	}
	err = view.run(ctx, updates, func() demoSummary {
		return demoSummary{len(answers), max(0, tokens()), time.Since(start), s.engine.counts(), s.device.Info.Name}
	})
	cancel()
	<-done
	return err
}

// beginDemo submits all streams between two steps, so that they share every
// step from the first one on.
func (s *session) beginDemo(ctx context.Context, names []string) ([]*answer, chan demoUpdate, error) {
	prompt, err := json.Marshal(demoPrompt)
	if err != nil {
		return nil, nil, err
	}
	var all []prepared
	for i, name := range names {
		seed := uint64(demoSeed + i)
		p, err := s.prepare(wireRequest{Adapter: &name, Prompt: prompt, sampling: sampling{
			MaxTokens: demoTokens, Temperature: demoTemperature, TopP: 1, Repetition: 1, Seed: &seed,
		}})
		if err != nil {
			return nil, nil, err
		}
		all = append(all, p)
	}
	updates := make(chan demoUpdate, len(all)*(demoTokens+2)) // room for everything: a slow view delays nobody
	var answers []*answer
	stopped := s.scheduler.Do(func() {
		for i, p := range all {
			var a *answer
			if a, err = s.begin(ctx, p, func(text string) { updates <- demoUpdate{stream: i, text: text} }); err != nil {
				return
			}
			answers = append(answers, a)
		}
	})
	return answers, updates, firstError(stopped, err)
}

// collectDemo sends the streams' updates and then closes them; done is closed
// after that.
func collectDemo(answers []*answer, updates chan<- demoUpdate) (done <-chan struct{}) {
	var all sync.WaitGroup
	for i, a := range answers {
		all.Go(func() {
			r := a.collect()
			updates <- demoUpdate{stream: i, reply: &r}
		})
	}
	finished := make(chan struct{})
	go func() {
		all.Wait()
		close(updates)
		close(finished)
	}()
	return finished
}

// demoError is the error of a stream's last update, if it has one.
func demoError(u demoUpdate) error {
	if u.reply != nil && u.reply.Finish == scheduler.Failed {
		return errors.New(u.reply.Error)
	}
	return nil
}
