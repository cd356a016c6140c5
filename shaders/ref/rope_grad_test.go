package ref

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRopeGradIsTheSlope(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	for _, norms := range []bool{false, true} {
		r := Rope{Heads: 4, KeyHeads: 2, Size: 8, Turns: Turns(9, 8, 100), Positions: []int32{0, 8, 3}, Eps: 1e-3}
		const all = 8
		r.QKV = coarse(rng, len(r.Positions)*all*r.Size)
		if norms {
			r.QNorm, r.KNorm = coarse(rng, r.Size), coarse(rng, r.Size)
		}
		d := coarse(rng, len(r.QKV))
		loss := func() float64 {
			q, keys, values := r.Run()
			s := 0.0
			for row := range r.Positions {
				dq := d[row*all*r.Size:]
				dk := dq[r.Heads*r.Size:]
				dv := dk[r.KeyHeads*r.Size:]
				s += inner(dq[:r.Heads*r.Size], q[row*r.Heads*r.Size:])
				s += inner(dk[:r.KeyHeads*r.Size], keys[row*r.KeyHeads*r.Size:])
				s += inner(dv[:r.KeyHeads*r.Size], values[row*r.KeyHeads*r.Size:])
			}
			return s
		}
		for i, g := range r.Grad(d) {
			assert.InDelta(t, slope(&r.QKV[i], loss), g, 1e-5, "norms %v, element %d", norms, i)
		}
	}
}
