package scheduler

import (
	"math"
	"sort"
)

// ration is how long a step may take for the sake of training, in seconds.
type ration struct {
	target float64 // the targets allow
	floor  float64 // training's floor allows
	must   bool    // training gets the least that can run, however long that takes
	alone  bool    // no request runs

	overdue float64 // the floor allows beyond the least, which was not enough lately
}

// newcomers is the number of steps within which a request that comes now gets
// its first token, if there are no others: two are in flight, one computes the prompt, and one is
// left for what was not foreseen.
const newcomers = 4

// target is how long a step may take that has its decode rows, in seconds: no
// longer than the next token may take, nor so long that a newcomer would wait too long behind it.
func (s *Scheduler) target(f *flight) float64 {
	target := math.Inf(1)
	if s.targets.TTFT > 0 {
		target = s.targets.TTFT.Seconds() / newcomers
	}
	if s.targets.ITL > 0 && f.decodes > 0 {
		target = min(target, s.targets.ITL.Seconds()-s.apart.held)
	}
	return target
}

// allowed is how long prompts may make a step. Where the decode rows alone take
// longer than the target it is lost, and prompts get as much time again rather than none.
func (s *Scheduler) allowed(f *flight) float64 {
	if decodes := s.cost.bound(&f.mix); decodes >= f.target {
		return 2 * decodes
	}
	return f.target
}

// fitting is the largest number up to most for which a step ends in time. A
// careful answer is not much beyond what is known.
func (c *Cost) fitting(most int, seconds float64, careful bool, step func(n int) mix) int {
	if math.IsInf(seconds, 1) {
		return most
	}
	return sort.Search(most, func(i int) bool {
		x := step(i + 1)
		return c.bound(&x) > seconds || careful && !c.knows(&x)
	})
}

// ration is what a step with its requests' rows leaves for training: what the
// targets do and first tokens that are due have no use for.
func (s *Scheduler) ration(f *flight) ration {
	requests := s.cost.bound(&f.mix)
	alone := len(s.running) == 0
	return ration{
		target:  min(f.target, f.pace, requests+max(0, f.slack)),
		floor:   requests + s.floor.due(),
		must:    alone || s.floor.must() || s.awaited(),
		alone:   alone,
		overdue: requests + s.floor.due() - s.floor.most(),
	}
}

// crowded tells whether requests wait for room, or will soon: nothing is then
// begun that would hold cache blocks and make the running ones take longer. Those that wait for
// their adapters need no room yet.
func (s *Scheduler) crowded() bool {
	if s.targets == (Targets{}) || len(s.running) == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting.begins() || s.blocks.room() < s.runner.CacheBlocks()/8
}
