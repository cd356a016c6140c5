package scheduler

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine/batch"
)

// instant is a runner that takes no time.
type instant struct {
	*sim
	steps []*batch.Step
}

func (r *instant) Start(step *batch.Step) error {
	r.steps = append(r.steps, step)
	return nil
}

func (r *instant) Wait() (*batch.Result, error) {
	step := r.steps[0]
	r.steps = r.steps[1:]
	result := &batch.Result{Picks: make([][]batch.Pick, len(step.Spans))}
	for i, span := range step.Spans {
		result.Picks[i] = make([]batch.Pick, len(span.Wants))
	}
	return result, nil
}

// BenchmarkStep is the scheduler's own share of a step with running requests
// on eight adapters: cancel, grow, admit, plan and commit.
func BenchmarkStep(b *testing.B) {
	const tokens = 2000
	for _, c := range []struct{ running, queued int }{{32, 0}, {256, 0}, {256, 10_000}} {
		running, queued := c.running, c.queued
		b.Run(fmt.Sprintf("running=%d/queued=%d", running, queued), func(b *testing.B) {
			crowd := func() *Scheduler {
				s := New(&instant{sim: newSim(4096, running, running*blocksFor(16+tokens))}, WithTargets(DefaultTargets()))
				ctx, leave := context.WithCancel(b.Context())
				b.Cleanup(leave)
				for i := range running + queued {
					length := tokens
					if i >= running {
						length = 1
					}
					_, err := s.Submit(ctx, ask(i%8, 1+i%15, length))
					require.NoError(b, err)
				}
				s.admit()
				return s
			}
			left := 0
			var s *Scheduler
			for b.Loop() {
				if left == 0 {
					b.StopTimer()
					s, left = crowd(), tokens/2
					b.StartTimer()
				}
				left--
				require.NoError(b, s.round(b.Context()))
			}
		})
	}
}
