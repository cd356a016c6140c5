package virtualmod

import (
	"math"

	"loquetier/engine/weights"
)

// Finite tells whether all of an adapter's numbers are.
func (a *Adapter) Finite() bool {
	for _, m := range a.Modules {
		tensors := []weights.Tensor{m.A, m.B}
		if m.Magnitude != nil {
			tensors = append(tensors, *m.Magnitude)
		}
		for _, t := range tensors {
			for _, v := range t.Float32s() {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					return false
				}
			}
		}
	}
	return true
}
