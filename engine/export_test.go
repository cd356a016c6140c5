package engine

// Gradients are what a training slot has gathered since its last update: sums
// over targets, laid out as its modules' A and B.
func (e *Engine) Gradients(slot int) ([]AdapterModule, error) {
	t, err := e.trainee(slot)
	if err != nil {
		return nil, err
	}
	return e.readModules(t, t.memory, uint64(4*t.count*gradientArray))
}

// KeptLayers is the number of layers whose activations are kept.
func (e *Engine) KeptLayers() int { return len(e.tape.kept) }

// Recordings is the number of recordings that serve further steps.
func (e *Engine) Recordings() int {
	n := 0
	for _, r := range e.recordings.list {
		if r.shape != (shape{}) {
			n++
		}
	}
	return n
}

// Forget makes the next steps be recorded.
func (e *Engine) Forget() { e.recordings.forget() }
