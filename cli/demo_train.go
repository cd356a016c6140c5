package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"loquetier/engine/weights"
	"loquetier/models"
	"loquetier/train"
)

// What the demo trains: an adapter that tells its stories like a pirate.
const (
	pirateName = "pirate"
	demoSteps  = 60
	demoRows   = 128 // of training in a step: a part of it, so that the streams flow
)

// newPirate prepares the demo's job. What it writes is gone when the session
// is closed.
func (s *session) newPirate(checkpoint *weights.Checkpoint, steps int) (*training, error) {
	dir, err := os.MkdirTemp("", "loquetier-demo-")
	if err != nil {
		return nil, fmt.Errorf("a folder for the job: %w", err)
	}
	s.later(func() error { return os.RemoveAll(dir) })
	data := filepath.Join(dir, pirateName+".jsonl")
	if err := os.WriteFile(data, models.Pirate, 0o600); err != nil {
		return nil, fmt.Errorf("the job's data: %w", err)
	}
	settings := train.DefaultSettings()
	settings.Steps, settings.Epochs, settings.MicroBatch, settings.LR, settings.Warmup = steps, 0, 4, 5e-3, min(5, steps)
	t := &training{session: s, checkpoint: checkpoint}
	j := &trainingJob{jobOptions: jobOptions{dataFile: data, out: filepath.Join(dir, pirateName), settings: settings}}
	t.jobs = []*trainingJob{j}
	return t, t.prepareJob(j)
}
