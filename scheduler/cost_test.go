package scheduler

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/engine/batch"
)

// law is how long a simulated device takes for a step.
type law func(x *mix) float64

// gpu reads the weights in 6 ms, takes 2 ms more with the kernels for many
// rows, and 40 us a row beyond few.
func gpu(x *mix) float64 {
	return 6e-3*x[mixPass] + 20e-6*x[mixRows] + 2e-3*x[mixMany] + 40e-6*x[mixBeyond] + 15e-6*x[mixPicks] + 45e-9*x[mixDecodeKeys] +
		8e-9*x[mixPairs] + 20e-6*x[mixTrainRows] + 0.3e-3*x[mixSlices] + 3e-6*x[mixSliceRows] + 0.5e-9*x[mixSlicePairs] + 1e-3*x[mixUpdates]
}

// software takes time for each row.
func software(x *mix) float64 {
	return 1e-3*x[mixPass] + 0.8e-3*x[mixRows] + 0.3e-3*x[mixTrainRows] + 0.3e-3*x[mixSliceRows] + 1e-6*x[mixPairs] + 1e-6*x[mixDecodeKeys] + 1e-3*x[mixUpdates]
}

// anyMix is a step as one serving and training program has them.
func anyMix(random *rand.Rand) mix {
	var x mix
	for range random.IntN(40) {
		x.add(batch.Decode, random.IntN(2000), 1, 1)
	}
	if random.IntN(4) == 0 {
		x.add(batch.Prefill, random.IntN(500), 1+random.IntN(500), 1)
	}
	switch random.IntN(4) {
	case 0:
		for range 1 + random.IntN(4) {
			x.add(batch.Train, 0, 512, 511)
		}
	case 1:
		x.backward(1+random.IntN(16), 1024, 1024*256)
	case 2:
		x.backward(1+random.IntN(16), 2048, 2048*256)
		x[mixUpdates] = 1
	}
	if x[mixRows] == 0 {
		x.add(batch.Decode, 100, 1, 1)
	}
	return x
}

func after(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// TestCostIsLearned: after some hundred steps nearly all steps are predicted
// within a tenth, also where times scatter, and hardly one takes longer than its bound.
func TestCostIsLearned(t *testing.T) {
	for name, c := range map[string]struct {
		law     law
		scatter float64
		off     float64 // of the prediction
	}{
		"gpu": {gpu, 0, 0.05}, "gpu, scattered": {gpu, 0.1, 0.25}, "software": {software, 0, 0.05}, "software, scattered": {software, 0.1, 0.25},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			cost := NewCost()
			off, over := 0, 0
			const warm, steps = 400, 2000
			for i := range warm + steps {
				x := anyMix(random)
				took := c.law(&x) * (1 + c.scatter*max(-2, min(2, random.NormFloat64())))
				if i >= warm {
					if p := cost.predict(&x); p < took*(1-c.off) || p > took*(1+c.off) {
						off++
					}
					if took > cost.bound(&x) {
						over++
					}
				}
				cost.learn(&x, after(took))
			}
			assert.Less(t, off, steps/50, "predictions that are off")
			assert.Less(t, over, steps/50, "steps beyond their bound")
		})
	}
}

// learned is what a number of steps of a GPU teach.
func learned(random *rand.Rand, steps int) Cost {
	cost := NewCost()
	for range steps {
		x := anyMix(random)
		cost.learn(&x, after(gpu(&x)))
	}
	return cost
}

// TestCostFollowsTheDevice: a device that has become slower is believed after
// ten steps, one that had a mishap is not after the next ones.
func TestCostFollowsTheDevice(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	cost := learned(random, 500)
	var decode mix
	for range 20 {
		decode.add(batch.Decode, 500, 1, 1)
	}
	usual := gpu(&decode)
	assert.InEpsilon(t, usual, cost.predict(&decode), 0.05)

	mishap := cost
	mishap.learn(&decode, time.Second)
	for range 20 {
		mishap.learn(&decode, after(usual))
	}
	assert.InEpsilon(t, usual, mishap.predict(&decode), 0.1)
	assert.Less(t, mishap.bound(&decode), 1.25*cost.bound(&decode))

	for range 10 {
		cost.learn(&decode, after(2*usual))
	}
	assert.InEpsilon(t, 2*usual, cost.predict(&decode), 0.25)
	assert.Greater(t, cost.bound(&decode), 2*usual)
	for range 100 {
		cost.learn(&decode, after(2*usual))
	}
	assert.InEpsilon(t, 2*usual, cost.predict(&decode), 0.05)
}

// TestCostOfTrainingKeepsItsOwnMargin: what holds up short steps now and then says nothing
// of the long ones of training.
func TestCostOfTrainingKeepsItsOwnMargin(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	cost := learned(random, 500)
	var decode, training mix
	decode.add(batch.Decode, 500, 1, 1)
	training.add(batch.Train, 0, 512, 511)
	training.backward(8, 512, 512*256)
	for i := range 500 {
		took := gpu(&decode)
		if i%20 == 0 {
			took += 0.1 // the host was busy
		}
		cost.learn(&decode, after(took))
		cost.learn(&training, after(gpu(&training)))
	}
	assert.Greater(t, cost.bound(&decode), 1.5*gpu(&decode))
	assert.Less(t, cost.bound(&training), 1.25*gpu(&training))
}

// TestCostRemembersTraining: a day of serving does not wash out what training takes.
func TestCostRemembersTraining(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	cost := learned(random, 500)
	for range 20_000 {
		var x mix
		for range 1 + random.IntN(40) {
			x.add(batch.Decode, random.IntN(2000), 1, 1)
		}
		cost.learn(&x, after(gpu(&x)))
	}
	var x mix
	x.add(batch.Decode, 1000, 1, 1)
	x.add(batch.Train, 0, 512, 511)
	x.backward(8, 512, 512*256)
	assert.InEpsilon(t, gpu(&x), cost.predict(&x), 0.2)
}

func TestCostIsSaved(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	cost := learned(random, 100)
	data, err := json.Marshal(cost)
	require.NoError(t, err)
	loaded, err := LoadCost(data)
	require.NoError(t, err)
	assert.Equal(t, cost.Seconds, loaded.Seconds)
	x := anyMix(random)
	assert.Equal(t, cost.bound(&x), loaded.bound(&x))

	for name, c := range map[string]struct {
		change func(*Cost)
		err    string
	}{
		"version":   {func(c *Cost) { c.Version++ }, "read the times of steps: they are of version 4, this is 3"},
		"time":      {func(c *Cost) { c.Seconds[3] = -1 }, "read the times of steps: a time or an amount is negative"},
		"curvature": {func(c *Cost) { c.Curvature[2][2] = -1 }, "read the times of steps: a time or an amount is negative"},
		"ratio":     {func(c *Cost) { c.Ratio = 0 }, "read the times of steps: a time or an amount is negative"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := cost
			c.change(&bad)
			data, err := json.Marshal(bad)
			require.NoError(t, err)
			_, err = LoadCost(data)
			assert.EqualError(t, err, c.err)
		})
	}
	_, err = LoadCost([]byte("{"))
	assert.ErrorContains(t, err, "read the times of steps")
}

func BenchmarkCostLearns(b *testing.B) {
	random := rand.New(rand.NewPCG(9, 10))
	cost := NewCost()
	x := anyMix(random)
	for b.Loop() {
		cost.learn(&x, after(gpu(&x)))
	}
}
