package weights

import "math"

// RopeScaling stretches rotary positions beyond the length of the first training.
type RopeScaling struct {
	Type   string  // "linear" or "llama3"
	Factor float64 // frequencies are divided by it: all (linear), or the low ones (llama3)

	// Of llama3 only. Wavelengths up to OriginalMaxPositions/HighFreqFactor stay,
	// those from OriginalMaxPositions/LowFreqFactor on are stretched by Factor,
	// between the two it is blended.
	LowFreqFactor, HighFreqFactor float64
	OriginalMaxPositions          int
}

// parseRope reads both ways of writing it down: rope_parameters, which holds
// everything (transformers 5), or rope_theta beside rope_scaling.
func (c *Config) parseRope(f *Fields) {
	c.RopeTheta = parseTheta(f, 10000)
	r := f.Object("rope_parameters")
	if r == nil {
		r = f.Object("rope_scaling")
	}
	checkPartial(f)
	if r == nil {
		return
	}
	if r.Has("full_attention") || r.Has("sliding_attention") {
		r.Fail("values for each layer type are not supported")
	}
	checkPartial(r)
	c.RopeTheta = parseTheta(r, c.RopeTheta)
	switch kind := r.Text("rope_type", r.Text("type", "default")); kind {
	case "default":
	case "linear":
		c.RopeScaling = &RopeScaling{Type: kind, Factor: r.NeedPositive("factor")}
	case "llama3":
		c.RopeScaling = parseLlama3(r)
	default:
		r.Fail("rope_type is %s, known are default, linear, llama3", quote(kind))
	}
}

func parseTheta(f *Fields, fallback float64) float64 {
	theta := f.Number("rope_theta", fallback)
	if theta < 1 {
		f.Fail("rope_theta is %v, want at least 1", theta)
	}
	return theta
}

func checkPartial(f *Fields) {
	if p := f.Number("partial_rotary_factor", 1); p != 1 {
		f.Fail("partial_rotary_factor is %v, known is 1", p)
	}
}

func parseLlama3(r *Fields) *RopeScaling {
	s := &RopeScaling{
		Type:                 "llama3",
		Factor:               r.NeedPositive("factor"),
		LowFreqFactor:        r.NeedPositive("low_freq_factor"),
		HighFreqFactor:       r.NeedPositive("high_freq_factor"),
		OriginalMaxPositions: r.NeedInt("original_max_position_embeddings", 1, maxPositions),
	}
	if s.HighFreqFactor <= s.LowFreqFactor {
		r.Fail("high_freq_factor is %v, want more than low_freq_factor, %v", s.HighFreqFactor, s.LowFreqFactor)
	}
	return s
}

// InverseFrequencies is, for each pair of elements (i, i+HeadDim/2) of a head,
// the angle in radians by which one position turns it: theta^(-2i/HeadDim)
// (RoFormer, section 3.2), scaled. HeadDim/2 values.
func (c Config) InverseFrequencies() []float64 {
	inv := make([]float64, c.HeadDim/2)
	for i := range inv {
		inv[i] = math.Pow(c.RopeTheta, -float64(2*i)/float64(c.HeadDim))
		if c.RopeScaling != nil {
			inv[i] = c.RopeScaling.apply(inv[i])
		}
	}
	return inv
}

// apply scales one inverse frequency; the llama3 formula is that of
// transformers' modeling_rope_utils.
func (s *RopeScaling) apply(inv float64) float64 {
	if s.Type == "linear" {
		return inv / s.Factor
	}
	turns := float64(s.OriginalMaxPositions) * inv / (2 * math.Pi) // within the original length
	switch {
	case turns < s.LowFreqFactor:
		return inv / s.Factor
	case turns > s.HighFreqFactor:
		return inv
	}
	smooth := (turns - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	return (1-smooth)*inv/s.Factor + smooth*inv
}
