package ref

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The vectors are kat_vectors of the Random123 library (Salmon et al. 2011).
func TestPhiloxGivesThePublishedNumbers(t *testing.T) {
	assert.Equal(t, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, Philox([4]uint32{}, 0))
	const ones = math.MaxUint32
	assert.Equal(t, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		Philox([4]uint32{ones, ones, ones, ones}, math.MaxUint64))
	assert.Equal(t, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		Philox([4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822))
}

func TestExponentialVariatesHaveMeanAndVarianceOne(t *testing.T) {
	const n = 100000
	sum, squares := 0.0, 0.0
	for i := range uint32(n) {
		e := Exponential(7, 0, i)
		sum, squares = sum+e, squares+e*e
	}
	mean := sum / n
	assert.InDelta(t, 1, mean, 0.02)
	assert.InDelta(t, 1, squares/n-mean*mean, 0.05)
}

// logits of four tokens with probabilities 0.5, 0.25, 0.15 and 0.1.
func fourLogits() []float32 {
	logits := []float32{}
	for _, p := range []float64{0.25, 0.5, 0.1, 0.15} {
		logits = append(logits, float32(math.Log(p)+3))
	}
	return logits
}

func TestLogProbabilitiesSumToOne(t *testing.T) {
	logs := LogProbabilities(fourLogits())
	assert.InDelta(t, math.Log(0.5), logs[1], 1e-6)
	assert.Equal(t, []int{1, 0, 3, 2}, Ranked(logs))
}

func TestFiltersKeepWhatTheyShould(t *testing.T) {
	plain := Sampling{Temperature: 1, TopP: 1, Repetition: 1}
	for name, c := range map[string]struct {
		change func(*Sampling)
		kept   []bool
	}{
		"none":             {func(s *Sampling) {}, []bool{true, true, true, true}},
		"top-k":            {func(s *Sampling) { s.TopK = 2 }, []bool{true, true, false, false}},
		"top-p":            {func(s *Sampling) { s.TopP = 0.8 }, []bool{true, true, false, true}},
		"top-p of one":     {func(s *Sampling) { s.TopP = 0.4 }, []bool{false, true, false, false}},
		"top-p of top-k":   {func(s *Sampling) { s.TopK, s.TopP = 2, 0.6 }, []bool{false, true, false, false}},
		"min-p":            {func(s *Sampling) { s.MinP = 0.4 }, []bool{true, true, false, false}},
		"min-p, flatter":   {func(s *Sampling) { s.MinP, s.Temperature = 0.4, 2 }, []bool{true, true, true, true}},
		"banned by a bias": {func(s *Sampling) { s.TopK, s.Edits = 1, []Edit{{Token: 1, Bias: -100}} }, []bool{true, false, false, false}},
		"repeated":         {func(s *Sampling) { s.TopK, s.Repetition, s.Edits = 1, 2, []Edit{{Token: 1, InPrompt: true}} }, []bool{true, false, false, false}},
	} {
		s := plain
		c.change(&s)
		choice := s.Choose(fourLogits())
		assert.Equal(t, c.kept, choice.Kept, name)
		assert.True(t, choice.Kept[choice.Token], name)
	}
}

func TestPenaltiesCountWhatWasWritten(t *testing.T) {
	s := Sampling{Repetition: 2, Presence: 0.5, Frequency: 0.25, Edits: []Edit{
		{Token: 0, Times: 2}, {Token: 1, InPrompt: true}, {Token: 2, Bias: 1.5},
	}}
	assert.Equal(t, []float64{4/2. - 0.5 - 0.5, -3 * 2, 2.5, 7}, s.edited([]float32{4, -3, 1, 7}))
}

func TestGreedyTiesAndNaN(t *testing.T) {
	nan := float32(math.NaN())
	assert.Equal(t, 1, Sampling{}.Choose([]float32{1, 3, 3, 2}).Token)
	assert.Equal(t, 2, Sampling{}.Choose([]float32{nan, 1, 3, 3}).Token)
	assert.Equal(t, -1, Sampling{}.Choose([]float32{nan, nan}).Token)
}
