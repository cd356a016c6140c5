package scheduler

import (
	"slices"

	"loquetier/engine/batch"
)

// commit hands a step's picks to their sequences and ends those that are
// done, and the sources theirs with the last step of a pass. What was computed for a sequence that has
// ended or been preempted meanwhile is dropped.
func (s *Scheduler) commit(f *flight, result *batch.Result) {
	for i, sh := range f.shares {
		if sh.work != nil {
			sh.work.picks[sh.index] = result.Picks[i]
			continue
		}
		q := sh.sequence
		if q.events == nil || q.stays != sh.stay {
			continue
		}
		q.computed += len(sh.span.Tokens)
		q.ahead -= len(sh.span.Tokens)
		if slices.ContainsFunc(result.Picks[i], notFinite) {
			s.end(q, Event{Finish: Failed, Err: ErrNotFinite})
			continue
		}
		s.remember(q)
		for j := range result.Picks[i] {
			pick := &result.Picks[i][j]
			if sh.span.Wants[j].Target >= 0 {
				q.scores = append(q.scores, *pick)
			} else {
				q.coming--
				s.append(q, pick)
			}
		}
		s.finishScores(q)
	}
	if f.ends != nil {
		s.finish(f.ends, result.Norms)
	}
}

func notFinite(p batch.Pick) bool { return p.Token < 0 || p.LogProb != p.LogProb }

// finishScores sends the prompt's scores once the prompt is complete; they
// precede the first token, which is only sent from append.
func (s *Scheduler) finishScores(q *sequence) {
	if q.MaxTokens == 0 && q.computed == len(q.Prompt) && q.events != nil {
		s.end(q, Event{Prompt: q.scores, Finish: Length})
	}
}

func (s *Scheduler) append(q *sequence, pick *batch.Pick) {
	if len(q.output) == 0 && q.PromptLogProbs >= 0 {
		q.events <- Event{Prompt: q.scores}
	}
	if slices.Contains(q.Stop, pick.Token) {
		s.end(q, Event{Finish: Stop})
		return
	}
	s.punctual(q)
	q.output = append(q.output, pick.Token)
	q.count(pick.Token)
	q.events <- Event{Token: pick}
	if len(q.output) >= q.limit(s.runner) {
		s.end(q, Event{Finish: Length})
	}
}

// end closes a sequence's stream and gives everything back.
func (s *Scheduler) end(q *sequence, last Event) {
	if q.events == nil {
		return
	}
	q.events <- last
	close(q.events)
	q.unwatch()
	q.events = nil
	q.release()
	s.blocks.put(q.blocks)
	s.running = slices.DeleteFunc(s.running, func(r *sequence) bool { return r == q })
}
