package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func job(slot int, seed uint64, shortest, longest int) *treadmill {
	return &treadmill{slot: slot, every: 4, shortest: shortest, longest: longest, random: rand.New(rand.NewPCG(seed, 9))}
}

func TestExplore(t *testing.T) {
	for _, c := range []struct {
		name    string
		law     law
		rate    float64
		targets Targets
		train   bool
		seq     int
		rows    int
		scatter float64
	}{
		{"gpu idle", gpu, 0.001, DefaultTargets(), true, 1024, 4096, 0},
		{"gpu 2.5", gpu, 2.5, DefaultTargets(), false, 1024, 4096, 0},
		{"gpu 2.5", gpu, 2.5, DefaultTargets(), true, 1024, 4096, 0},
		{"gpu 2.5 noise", gpu, 2.5, DefaultTargets(), true, 1024, 4096, 0.1},
		{"gpu 10", gpu, 10, DefaultTargets(), true, 1024, 4096, 0},
		{"gpu 25", gpu, 25, DefaultTargets(), true, 1024, 4096, 0},
		{"gpu 25", gpu, 25, DefaultTargets(), false, 1024, 4096, 0},
		{"gpu 2.5 50ms", gpu, 2.5, Targets{time.Second, 50 * time.Millisecond}, true, 1024, 4096, 0},
		{"gpu 2.5 30ms", gpu, 2.5, Targets{time.Second, 30 * time.Millisecond}, true, 1024, 4096, 0},
		{"soft idle", software, 0.001, DefaultTargets(), true, 128, 1024, 0},
		{"soft 0.5", software, 0.5, DefaultTargets(), true, 128, 1024, 0},
		{"soft 0.5 noise", software, 0.5, DefaultTargets(), true, 128, 1024, 0.1},
		{"soft 1.5", software, 1.5, DefaultTargets(), true, 128, 1024, 0},
		{"soft 3", software, 3, DefaultTargets(), true, 128, 1024, 0},
		{"soft 3", software, 3, DefaultTargets(), false, 128, 1024, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			tr := &trial{runner: newPaced(c.law, c.rows, c.rows, 32, 5000), targets: c.targets, floor: DefaultFloor, rate: steady(c.rate), lasts: 120 * time.Second,
				prompt: [2]int{50, 450}, output: [2]int{50, 350}, adapters: 4, seed: 5}
			if c.scatter > 0 {
				tr.runner.scatter, tr.runner.random = c.scatter, rand.New(rand.NewPCG(1, 2))
			}
			if c.train {
				tr.jobs = []*treadmill{job(7, 1, c.seq/2, c.seq)}
			}
			if c.rate < 0.1 {
				tr.rate = func(at time.Duration) float64 {
					if at > 60*time.Second {
						return 0.5
					}
					return 0
				}
				tr.lasts = 60 * time.Second
			}
			begun := time.Now()
			err := tr.run()
			took := time.Since(begun)
			n := 0
			for i, d := range tr.decisions {
				if d.Allowed > 0 && d.Decode > 0 && d.Measured > 1.0*min(200, d.Allowed) {
					n++
					if n < 12 {
						fmt.Println(i, fmt.Sprintf("%+v", d))
					}
				}
			}
			fmt.Println(n, "over")
			limits := map[Limit]int{}
			for _, d := range tr.decisions {
				limits[d.Limit]++
			}
			fmt.Printf("%-16s train %-5v attained %.3f ttft p50 %v p99 %v itl p50 %v p99 %v max %v | %d visits steps %d share %.3f rows/s %.0f in %v | %v %v\n", c.name, c.train, tr.attained(0, time.Hour), quantile(tr.firsts(), .5).Round(time.Millisecond), quantile(tr.firsts(), .99).Round(time.Millisecond),
				quantile(tr.gaps(), .5).Round(time.Millisecond), quantile(tr.gaps(), .99).Round(time.Millisecond), quantile(tr.gaps(), 1).Round(time.Millisecond), len(tr.visits), len(tr.decisions), tr.totals.TrainingShare(), float64(tr.trained())/took.Seconds(), took.Round(time.Second), limits, err)
		})
	}
}
