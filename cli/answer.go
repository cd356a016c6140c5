package cli

import (
	"context"
	"errors"

	"loquetier/engine/batch"
	"loquetier/scheduler"
)

// answer is a request under way.
type answer struct {
	prepared
	ctx    context.Context // the caller's
	cancel context.CancelFunc
	events <-chan scheduler.Event
	script *transcript
	reply  reply
}

// begin submits a request. emit takes its text as it comes and may be nil;
// it is called from collect. collect must be called. The request's adapter is released
// at its end, or here where it is refused.
func (s *session) begin(ctx context.Context, p prepared, emit func(string)) (*answer, error) {
	inner, cancel := context.WithCancel(ctx)
	events, err := s.scheduler.Submit(inner, p.request)
	if err != nil {
		cancel()
		p.claim.Release()
		return nil, err
	}
	text := ""
	a := &answer{prepared: p, ctx: ctx, cancel: cancel, events: events, script: newTranscript(s.text, p.request.Prompt, p.stops, emit)}
	a.reply = reply{ID: p.id, Adapter: p.adapter, PromptIDs: p.request.Prompt, Tokens: []int32{}, Text: &text, Seed: p.seed}
	if p.request.LogProbs >= 0 {
		a.reply.LogProbs = []tokenScore{}
	}
	return a, nil
}

// collect waits for the request's end and gives its reply. What was
// generated before an error is kept.
func (a *answer) collect() reply {
	defer a.cancel()
	for e := range a.events {
		if a.take(e) {
			break
		}
	}
	text := a.script.text.String()
	a.reply.Text = &text
	return a.reply
}

// take adds an event to the reply; it says whether it was the last.
func (a *answer) take(e scheduler.Event) (last bool) {
	r := &a.reply
	if a.request.PromptLogProbs >= 0 && r.PromptLogProbs == nil && (e.Token == nil && e.Finish != scheduler.Failed) {
		r.PromptLogProbs = promptScores(e.Prompt)
	}
	if e.Token != nil && a.takeToken(*e.Token) {
		r.Finish = scheduler.Stop
		return true
	}
	if e.Finish == "" {
		return false
	}
	r.Finish = e.Finish
	if a.script.end() {
		r.Finish = scheduler.Stop
	}
	if e.Finish == scheduler.Failed {
		r.Finish, r.Error = e.Finish, a.failure(e.Err)
	}
	return true
}

func (a *answer) takeToken(p batch.Pick) (stopped bool) {
	a.reply.Tokens = append(a.reply.Tokens, p.Token)
	if a.request.LogProbs >= 0 {
		a.reply.LogProbs = append(a.reply.LogProbs, scored(p))
	}
	return a.script.push(p.Token)
}

func (a *answer) failure(err error) string {
	if a.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	return oneLine(err)
}
