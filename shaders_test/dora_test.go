package shaders_test

import (
	"fmt"
	"math"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
	"loquetier/shaders/ref"
)

// doraTunings are the two tunings, and other workgroup sizes.
func doraTunings(t *testing.T) []shaders.Tuning {
	all := shaders.Tunings()
	for _, wg := range workgroups() {
		other := tuning(t, "gpu")
		other.DoraWorkgroup = wg
		all = append(all, other)
	}
	return all
}

func TestDora(t *testing.T) {
	for _, types := range pairs {
		b := newBench(t, 16)
		for i, in := range []int{4, 12, 60, 192} {
			out, rank := []int{1, 3, 7, 133}[i], []int{1, 5, 64, 8}[i]
			w := b.normal(out*in, 1/math.Sqrt(float64(in)), types.weight)
			a, magnitude := b.adapter(in, out, rank, false, types.act), b.normal(out, 1, weights.F32)
			gain := b.blank(4 * out)
			d := engine.Dora{
				W: b.stored(w, types.weight), A: b.stored(a.A, types.act), B: b.stored(a.B, types.act),
				Magnitude: b.stored(magnitude, weights.F32), Gain: gain.Range, Scale: a.Scale, Out: out, In: in, Rank: a.Rank,
			}
			for j, tuning := range doraTunings(t) {
				if types.weight != weights.F32 && j > 1 && (i+j)%3 > 0 {
					continue
				}
				k := kernels(t, tuning, types.weight, types.act)
				b.dispatch(func(rec *vk.Recorder) error { return k.Dora(rec, d) }, gain)
				requireClose(t, ref.Dora(w, in, a, magnitude), gain.numbers(b, weights.F32), weights.F32,
					fmt.Sprintf("%v, %d -> %d, rank %d, workgroup %d", types, in, out, rank, tuning.DoraWorkgroup))
			}
		}
	}
}
