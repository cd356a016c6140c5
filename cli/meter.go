package cli

import (
	"sync"
	"time"

	"loquetier/engine"
	"loquetier/engine/batch"
)

// meter is the engine with its steps counted.
type meter struct {
	*engine.Engine
	mu    sync.Mutex
	count counts
}

// counts sums steps up.
type counts struct {
	Steps, Rows int
	Tokens      int           // chosen for requests
	Shared      int           // steps that served several adapters, the base counted as one
	Most        int           // most adapters in one step
	Busy        time.Duration // time inside steps
}

// Run runs and counts a step.
func (m *meter) Run(step *batch.Step) (*batch.Result, error) {
	start := time.Now()
	result, err := m.Engine.Run(step)
	if err != nil {
		return nil, err
	}
	slots := map[int]bool{}
	tokens := 0
	for i := range step.Spans {
		slots[step.Spans[i].Slot] = true
		for _, w := range step.Spans[i].Wants {
			if w.Target < 0 {
				tokens++
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count.Steps++
	m.count.Rows += step.Rows()
	m.count.Tokens += tokens
	m.count.Most = max(m.count.Most, len(slots))
	m.count.Busy += time.Since(start)
	if len(slots) > 1 {
		m.count.Shared++
	}
	return result, nil
}

// counts so far.
func (m *meter) counts() counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}
