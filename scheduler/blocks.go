package scheduler

import "loquetier/engine/batch"

// blocks is the pool of KV cache blocks.
type blocks struct{ free []int32 }

func newBlocks(n int) *blocks {
	b := &blocks{free: make([]int32, n)}
	for i := range b.free {
		b.free[i] = int32(n - 1 - i) // taken from the end: low blocks first
	}
	return b
}

// blocksFor is the number of blocks that hold a number of tokens.
func blocksFor(tokens int) int { return (tokens + batch.BlockSize - 1) / batch.BlockSize }

// take returns n blocks, or none where there are not as many.
func (b *blocks) take(n int) ([]int32, bool) {
	if n > len(b.free) {
		return nil, false
	}
	at := len(b.free) - n
	taken := append([]int32(nil), b.free[at:]...)
	b.free = b.free[:at]
	return taken, true
}

func (b *blocks) put(taken []int32) { b.free = append(b.free, taken...) }
