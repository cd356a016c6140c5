package train

import "math/rand/v2"

// Order is the order in which n sequences are trained, over and over: that of
// the file, or another permutation in every epoch, which seed and epoch alone
// determine. So a position, a plain number, is all there is to remember. It is
// not safe for concurrent use.
type Order struct {
	n       int
	shuffle bool
	seed    uint64
	epoch   int // whose permutation is kept
	kept    []int
}

// NewOrder orders n sequences, at least one.
func NewOrder(n int, shuffle bool, seed uint64) *Order {
	return &Order{n: n, shuffle: shuffle, seed: seed, epoch: -1}
}

// At is the number of the sequence at a position, which counts from 0 through
// all epochs.
func (o *Order) At(position int) int {
	epoch, i := position/o.n, position%o.n
	if !o.shuffle {
		return i
	}
	if epoch != o.epoch {
		o.epoch, o.kept = epoch, rand.New(rand.NewPCG(o.seed, uint64(epoch))).Perm(o.n)
	}
	return o.kept[i]
}
