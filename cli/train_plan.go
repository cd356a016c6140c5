package cli

import (
	"fmt"
	"io"

	"loquetier/engine"
)

// printPlan tells what the run will take of the device, by part, without
// loading anything.
func (t *training) printPlan(out io.Writer) error {
	config := t.engineConfig()
	m, err := engine.Plan(t.device, t.checkpoint, config)
	if err != nil {
		return err
	}
	rows := []struct {
		what  string
		bytes int64
		note  string
	}{
		{"weights", m.Weights, "the base, once for all jobs"},
		{"KV cache", m.Cache, "of the sequences of a step"},
		{"activations", m.Activations, fmt.Sprintf("of a step of %d rows", config.TrainRows)},
		{"layer inputs", m.Inputs, "where the backward pass starts from"},
		{"kept activations", m.Kept, fmt.Sprintf("%d of %d layers keep theirs, the others compute them again", m.KeptLayers, t.checkpoint.Config.Layers)},
		{"gradients", m.Work, "of activations, a layer at a time"},
	}
	sum := m.Total()
	for _, j := range t.jobs {
		bytes, err := j.adapter.TrainingBytes(t.device, t.checkpoint, config)
		if err != nil {
			return err
		}
		sum += bytes
		rows = append(rows, struct {
			what  string
			bytes int64
			note  string
		}{"job", bytes, fmt.Sprintf("%s: %d parameters, their gradients and moments", j.out, j.adapter.Info().Parameters)})
	}
	for _, r := range rows {
		if _, err := fmt.Fprintf(out, "%-17s %12s  %s\n", r.what, size(r.bytes), r.note); err != nil {
			return err
		}
	}
	free := int64(t.device.Info.FreeMemory)
	if _, err := fmt.Fprintf(out, "%-17s %12s  of %s that %s has free\n", "together", size(sum), size(free), t.device.Info.Name); err != nil {
		return err
	}
	if sum > free {
		return fmt.Errorf("the run does not fit: it takes %s, but %s has %s free: take fewer --train-rows, a smaller --rank or --recompute on", size(sum), t.device.Info.Name, size(free))
	}
	return nil
}

// size is a number of bytes for people.
func size(bytes int64) string {
	const mib = 1 << 20
	if bytes < 10*mib {
		return fmt.Sprintf("%.2f MiB", float64(bytes)/mib)
	}
	if bytes < 10<<30 {
		return fmt.Sprintf("%.0f MiB", float64(bytes)/mib)
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}
