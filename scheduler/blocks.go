package scheduler

import (
	"container/list"
	"slices"

	"loquetier/engine/batch"
)

// blocks is the pool of KV cache blocks. Each is either free, or in use by as
// many sequences as it has references, or cached: full, known by its content,
// and kept although nobody refers to it until room is needed.
type blocks struct {
	free     []int32
	refs     []int           // by block
	cached   *list.List      // of int32, the least recently used first
	place    []*list.Element // by block: its element of cached, or nil
	prefixes prefixes
}

func newBlocks(n int) *blocks {
	b := &blocks{
		free: make([]int32, n), refs: make([]int, n), cached: list.New(), place: make([]*list.Element, n),
		prefixes: newPrefixes(),
	}
	for i := range b.free {
		b.free[i] = int32(n - 1 - i) // taken from the end: low blocks first
	}
	return b
}

// blocksFor is the number of blocks that hold a number of tokens.
func blocksFor(tokens int) int { return (tokens + batch.BlockSize - 1) / batch.BlockSize }

// room is how many blocks can be taken.
func (b *blocks) room() int { return len(b.free) + b.cached.Len() }

// take returns n blocks with one reference each, or none where there are not
// as many. Free ones go first, then the least recently used of the cached.
func (b *blocks) take(n int) ([]int32, bool) {
	if n > b.room() {
		return nil, false
	}
	for len(b.free) < n {
		b.evict()
	}
	at := len(b.free) - n
	taken := slices.Clone(b.free[at:])
	b.free = b.free[:at]
	for _, block := range taken {
		b.refs[block] = 1
	}
	return taken, true
}

// evict makes the least recently used cached block a free one.
func (b *blocks) evict() {
	block := b.cached.Remove(b.cached.Front()).(int32)
	b.place[block] = nil
	b.prefixes.forget(block)
	b.free = append(b.free, block)
}

// hold adds a reference to each block.
func (b *blocks) hold(held []int32) {
	for _, block := range held {
		if e := b.place[block]; e != nil {
			b.cached.Remove(e)
			b.place[block] = nil
		}
		b.refs[block]++
	}
}

// put takes a reference from each block of a sequence, in the sequence's
// order. What nobody refers to any longer stays cached where its content is
// known. The last blocks are cached first, and so evicted first: a block never
// outlives those that it continues, without which it could not be found.
func (b *blocks) put(given []int32) {
	for _, block := range slices.Backward(given) {
		b.refs[block]--
		switch {
		case b.refs[block] < 0:
			panic("BUG: a cache block is given back twice")
		case b.refs[block] > 0:
		case b.prefixes.knows(block):
			b.place[block] = b.cached.PushBack(block)
		default:
			b.free = append(b.free, block)
		}
	}
}

// remember makes a full block known by its content. Where another block is
// known by the same, that one is referred to instead, and the given one is put
// back. It returns the block to use and the content's node.
func (b *blocks) remember(content content, block int32) (int32, uint64) {
	if known, ok := b.prefixes.nodes[content]; ok {
		b.hold([]int32{known.block})
		b.put([]int32{block})
		return known.block, known.id
	}
	return block, b.prefixes.add(content, block)
}
