package cli

import (
	"sync"

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
	Tokens      int // chosen for requests, and of each that a stop token ends one more
	Shared      int // steps that served several adapters, the base counted as one
	Most        int // most adapters in one step
}

// Start starts and counts a step.
func (m *meter) Start(step *batch.Step) error {
	if err := m.Engine.Start(step); err != nil {
		return err
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
	if len(slots) > 1 {
		m.count.Shared++
	}
	return nil
}

// counts so far.
func (m *meter) counts() counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}
