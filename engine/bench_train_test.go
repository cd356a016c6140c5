package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/batch"
	"loquetier/virtualmod"
)

// trainer makes steps of a number of sequences of 128 tokens for each of some
// new adapters, of rank 8 on all modules.
func trainer(b *testing.B, e *engine.Engine, base *virtualmod.Base, jobs, sequences int) *batch.Step {
	b.Helper()
	const length = 128
	targets, err := virtualmod.ParseTargets("all")
	require.NoError(b, err)
	step := &batch.Step{Backward: batch.All}
	for j := range jobs {
		adapter, err := virtualmod.NewAdapter(virtualmod.Spec{Rank: 8, Alpha: 16, Targets: targets}, e.Model(), uint64(j))
		require.NoError(b, err)
		trainee, err := base.Train(adapter)
		require.NoError(b, err)
		b.Cleanup(func() { require.NoError(b, trainee.End()) })
		for range sequences {
			span := batch.Span{Kind: batch.Train, Slot: trainee.Slot()}
			for i := range length {
				span.Tokens = append(span.Tokens, int32(300+(len(step.Spans)*37+i*11)%1000))
				if i > 0 {
					span.Wants = append(span.Wants, batch.Want{Row: i - 1, Target: span.Tokens[i]})
				}
				if i%batch.BlockSize == 0 {
					span.Blocks = append(span.Blocks, int32(len(step.Spans)*length+i)/batch.BlockSize)
				}
			}
			step.Spans = append(step.Spans, span)
		}
		step.Updates = append(step.Updates, batch.Update{
			Slot: trainee.Slot(), Targets: sequences * (length - 1), Step: 1, LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Clip: 1,
		})
	}
	return step
}

func BenchmarkTrain(b *testing.B) {
	for name, recompute := range map[string]engine.Recompute{"kept": engine.RecomputeNever, "recomputed": engine.RecomputeAlways} {
		e, base := openStories(b, engine.Config{TrainRows: 1024, Recompute: recompute})
		for _, c := range []struct{ jobs, sequences int }{{1, 8}, {1, 4}, {2, 4}} {
			b.Run(fmt.Sprintf("%s/jobs=%d/rows=%dx128", name, c.jobs, c.sequences), func(b *testing.B) {
				runSteps(b, e, trainer(b, e, base, c.jobs, c.sequences))
				b.ReportMetric(float64(e.Used())/(1<<20), "MiB")
			})
		}
	}
}
