package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"loquetier/engine/weights"
	"loquetier/models"
	"loquetier/scheduler"
	"loquetier/train"
)

// What the demo shows: the same prompt, continued by the base and by each
// embedded adapter, while one more adapter is trained in the same steps; in the
// end that one continues the prompt too.
const (
	demoPrompt      = "Once upon a time"
	demoTokens      = 160
	demoTemperature = 0.7
	demoSeed        = 7
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "show the embedded model: adapters at work and one in training, in the same steps",
		Flags: slices.Concat([]cli.Flag{
			&cli.IntFlag{Name: "steps", Value: demoSteps, Usage: "train `N` optimizer steps"},
		}, limitFlags(limitOptions{}), deviceFlags()),
		Description: "loquetier demo",
		Action:      demoAction,
	}
}

func demoAction(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if c.Int("steps") < 1 {
		return usagef("--steps %d: it takes 1 or more", c.Int("steps"))
	}
	o := modelOptions{
		model: stories, device: c.String("device"), dtype: c.String("dtype"), family: c.String("family"),
		context: c.Int("context"), cacheTokens: c.Int("cache-tokens"), slots: c.Int("slots"), profile: c.Bool("profile"),
		log: logOptions{c.String("log-level"), c.String("log-format")}, trainRows: demoRows,
	}
	var err error
	if o.limits, err = limitsOf(c); err != nil {
		return err
	}
	if err := o.check(c); err != nil {
		return err
	}
	return withCheckpoint(c, o, func(s *session, checkpoint *weights.Checkpoint) error {
		pirate, err := s.newPirate(checkpoint, c.Int("steps"))
		if err != nil {
			return err
		}
		if err := s.serve(c.Context, checkpoint); err != nil {
			return err
		}
		return s.demo(c, pirate)
	})
}

// demoUpdate is what happened to one stream of the demo, or in training.
type demoUpdate struct {
	stream int
	text   string // new text
	reply  *reply // with the last update
	train  *train.Event
}

// demoSummary is what the demo says in the end.
type demoSummary struct {
	streams int
	trained int // tokens, once for each time they were
	took    time.Duration
	counts  counts
	device  string
}

func (d demoSummary) String() string {
	seconds := d.took.Seconds()
	return fmt.Sprintf("%d streams and one job, in the same steps: %d tokens served, %d trained in %.1f s. %d steps, %d of them shared by several adapters, up to %d in one (the base counted). Device: %s",
		d.streams, d.counts.Tokens, d.trained, seconds, d.counts.Steps, d.counts.Shared, d.counts.Most, d.device)
}

// demoView shows the demo. run returns when the updates have ended, ctx is done
// or the user has seen enough; it returns the first error, if something failed.
type demoView interface {
	run(ctx context.Context, updates <-chan demoUpdate, summary func() demoSummary) error
}

// demoRun is the demo under way.
type demoRun struct {
	*session
	names   []string // of the streams; the last one begins when it has been trained
	pirate  *training
	updates chan demoUpdate
	start   time.Time

	mu     sync.Mutex // guards what follows
	learnt int        // tokens
}

func (s *session) demo(c *cli.Context, pirate *training) error {
	d := &demoRun{session: s, pirate: pirate, start: time.Now(), names: []string{baseName}}
	for _, a := range models.Adapters() {
		d.names = append(d.names, stories+"/"+a)
	}
	d.names = append(d.names, pirateName)
	// Room for everything: a slow view delays nobody.
	d.updates = make(chan demoUpdate, len(d.names)*(demoTokens+2)+2*c.Int("steps")+16)
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel() // a view may end before the streams
	answers, err := d.begin(ctx, c)
	if err != nil {
		return err
	}
	done := d.collect(ctx, answers)
	var view demoView = newDemoPlain(c.App.Writer, d.names)
	if isTerminal(c.App.Writer) {
		view = newDemoScreen(c, d.names)
	}
	defer context.AfterFunc(ctx, pirate.stopAll)()
	err = view.run(ctx, d.updates, d.summary)
	cancel()
	pirate.stopAll()
	<-done
	return err
}

func (d *demoRun) summary() demoSummary {
	d.mu.Lock()
	defer d.mu.Unlock()
	return demoSummary{len(d.names), d.learnt, time.Since(d.start), d.engine.counts(), d.device.Info.Name}
}

// begin submits the streams and the job between two steps, so that they share
// every step from the first one on.
func (d *demoRun) begin(ctx context.Context, c *cli.Context) (answers []*answer, err error) {
	var all []prepared
	for i, name := range d.names[:len(d.names)-1] {
		if err := d.check(ctx, name); err != nil { // so that nobody begins before the others
			return nil, err
		}
		p, err := d.ask(i, name)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	job := d.pirate.jobs[0]
	if job.trainee, err = d.loader.Train(job.adapter); err != nil {
		return nil, err
	}
	stopped := d.scheduler.Do(func() {
		for i, p := range all {
			var a *answer
			if a, err = d.stream(ctx, i, p); err != nil {
				return
			}
			answers = append(answers, a)
		}
		err = d.pirate.newJob(job, d.learn)
	})
	if err := firstError(stopped, err); err != nil {
		return nil, err
	}
	return answers, d.scheduler.Train(job.job)
}

// ask is the demo's request of an adapter.
func (d *demoRun) ask(i int, name string) (prepared, error) {
	prompt, err := json.Marshal(demoPrompt)
	if err != nil {
		return prepared{}, err
	}
	seed := uint64(demoSeed + i)
	return d.prepare(wireRequest{Adapter: &name, Prompt: prompt, sampling: sampling{
		MaxTokens: demoTokens, Temperature: demoTemperature, TopP: 1, Repetition: 1, Seed: &seed,
	}})
}

func (d *demoRun) stream(ctx context.Context, i int, p prepared) (*answer, error) {
	return d.session.begin(ctx, p, func(text string) { d.updates <- demoUpdate{stream: i, text: text} })
}

// learn takes the job's events.
func (d *demoRun) learn(e train.Event) {
	d.mu.Lock()
	d.learnt += e.Record.Tokens
	d.mu.Unlock()
	d.updates <- demoUpdate{stream: len(d.names) - 1, train: &e}
}

// collect sends the streams' updates, lets the trained adapter speak, and then
// closes the updates; done is closed after that.
func (d *demoRun) collect(ctx context.Context, answers []*answer) (done <-chan struct{}) {
	var all sync.WaitGroup
	for i, a := range answers {
		all.Go(func() { d.finish(i, a) })
	}
	all.Go(func() {
		<-d.pirate.jobs[0].job.Ended()
		if err := d.speak(ctx); err != nil {
			d.updates <- demoUpdate{stream: len(d.names) - 1, reply: &reply{Finish: scheduler.Failed, Error: oneLine(err)}}
		}
	})
	finished := make(chan struct{})
	go func() {
		all.Wait()
		close(d.updates)
		close(finished)
	}()
	return finished
}

func (d *demoRun) finish(i int, a *answer) {
	r := a.collect()
	d.updates <- demoUpdate{stream: i, reply: &r}
}

// speak publishes what has been trained and lets it continue the prompt.
func (d *demoRun) speak(ctx context.Context) error {
	job := d.pirate.jobs[0]
	if err := firstError(job.job.Err(), ctx.Err()); err != nil {
		return err
	}
	last := len(d.names) - 1
	if err := d.loader.Publish(job.trainee, pirateName); err != nil {
		return err
	}
	p, err := d.ask(last, pirateName)
	if err != nil {
		return err
	}
	a, err := d.stream(ctx, last, p)
	if err != nil {
		return err
	}
	d.finish(last, a)
	return nil
}

// demoError is the error of a stream's last update, if it has one.
func demoError(u demoUpdate) error {
	if u.reply != nil && u.reply.Finish == scheduler.Failed {
		return errors.New(u.reply.Error)
	}
	return nil
}
