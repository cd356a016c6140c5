package train

import "math"

// The schedules of a learning rate.
const (
	Linear   = "linear"   // falls to 0 at the end
	Cosine   = "cosine"   // falls to 0 at the end, along half a wave
	Constant = "constant" // stays
)

// Schedule gives every step its learning rate: over the first Warmup steps it
// rises to LR, over the rest it is as Kind says.
type Schedule struct {
	Kind   string
	LR     float64
	Warmup int // steps
	Steps  int // of the whole run, warm-up included
}

// At is the learning rate of a step, counted from 0. With S steps, w of
// warm-up, it is for s < w
//
//	LR (s+1)/w
//
// and from then on
//
//	LR (S-s)/(S-w)                  (linear)
//	LR (1 + cos(pi (s-w)/(S-w)))/2  (cosine)
//	LR                              (constant)
func (c Schedule) At(step int) float64 {
	s, w, all := float64(step), float64(c.Warmup), float64(c.Steps)
	switch {
	case step < c.Warmup:
		return c.LR * ((s + 1) / w)
	case c.Kind == Linear:
		return c.LR * ((all - s) / (all - w))
	case c.Kind == Cosine:
		return c.LR * (0.5 * (1 + math.Cos(math.Pi*(s-w)/(all-w))))
	}
	return c.LR
}
