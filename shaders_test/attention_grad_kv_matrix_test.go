package shaders_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

func TestAttentionGradKVOnMatrices(t *testing.T) {
	gradOnMatrices(t, 52, func(g attentionGrad, b *bench) func(*engine.Kernels, string) {
		want, op, shares := g.oracle.GradKV(g.runs), g.AttentionGrad, g.Query/g.Key
		return func(k *engine.Kernels, what string) {
			require.Equal(b, shares, k.GradShares(op), what)
			for _, op.Shares = range []int{1, shares} {
				d := b.blank(4 * g.Rows * (g.Query + 2*op.Shares*g.Key) * g.Size)
				op.D = d.Range
				b.dispatch(func(rec *vk.Recorder) error { return k.AttentionGradKV(rec, op) }, d)
				got := addShares(d.numbers(b, weights.F32), g.Heads, op.Shares)
				requireWithin(b, storeError(k.Act), want, got, weights.F32, fmt.Sprintf("%s, %d shares", what, op.Shares))
			}
		}
	})
}

// addShares adds up the partial sums of the gradients of k and v: of rows of heads of q,
// shares of k and shares of v, it makes rows of q, k and v.
func addShares[T float32 | float64](d []T, h engine.Heads, shares int) []T {
	q, kv := h.Query*h.Size, h.Key*h.Size
	var sums []T
	for ; len(d) > 0; d = d[q+2*shares*kv:] {
		sums = append(sums, d[:q]...)
		for i := range 2 * kv {
			var sum T
			for share := range shares {
				sum += d[q+(i/kv*shares+share)*kv+i%kv]
			}
			sums = append(sums, sum)
		}
	}
	return sums
}
