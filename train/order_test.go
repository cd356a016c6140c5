package train

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func epochs(o *Order, n int, all ...int) (out [][]int) {
	for _, epoch := range all {
		var one []int
		for i := range n {
			one = append(one, o.At(epoch*n+i))
		}
		out = append(out, one)
	}
	return out
}

func TestTheFilesOrderCycles(t *testing.T) {
	assert.Equal(t, [][]int{{0, 1, 2}, {0, 1, 2}}, epochs(NewOrder(3, false, 7), 3, 0, 5))
}

func TestEveryEpochIsAnotherPermutation(t *testing.T) {
	const n = 50
	a := epochs(NewOrder(n, true, 1), n, 0, 1, 2)
	for _, epoch := range a {
		sorted := slices.Sorted(slices.Values(epoch))
		assert.Equal(t, epochs(NewOrder(n, false, 0), n, 0)[0], sorted)
	}
	assert.NotEqual(t, a[0], a[1])
	assert.NotEqual(t, a[1], a[2])
	b := epochs(NewOrder(n, true, 1), n, 2, 0, 1)
	assert.Equal(t, a, [][]int{b[1], b[2], b[0]}, "a position says all there is to know")
	assert.NotEqual(t, a, epochs(NewOrder(n, true, 2), n, 0, 1, 2))
	assert.Equal(t, []int{1, 0, 3, 4, 2}, epochs(NewOrder(5, true, 1), 5, 0)[0], "the order is a promise to checkpoints")
}
