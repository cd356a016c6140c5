package scheduler

import "loquetier/engine/batch"

// prefixes finds cache blocks by what is in them: a tree of full blocks, in
// which a path from the root is the beginning of a sequence on one version of
// one adapter. Finding n blocks takes n look-ups.
//
// The key of a block is its parent's number and its tokens, whole: a map
// compares keys, not only their hashes, so by induction two sequences that
// meet in a node agree in every token before it. Numbers are never used twice: what
// hung on an evicted block can no longer be found.
type prefixes struct {
	nodes map[content]node
	known map[int32]content // by block
	last  uint64            // number given
}

// anySlot is the slot of what a version of an adapter has computed that may be in
// another one the next time.
const anySlot = -2

// content is what a full block holds.
type content struct {
	parent  uint64 // node of the block before it; 0: it is the sequence's first
	slot    int
	version uint64
	tokens  [batch.BlockSize]int32
}

type node struct {
	id    uint64
	block int32
}

func newPrefixes() prefixes {
	return prefixes{nodes: map[content]node{}, known: map[int32]content{}}
}

func (p *prefixes) knows(block int32) bool {
	_, ok := p.known[block]
	return ok
}

// add makes a block known by its content, which no other block is known by,
// and returns its node.
func (p *prefixes) add(content content, block int32) uint64 {
	p.last++
	p.nodes[content], p.known[block] = node{p.last, block}, content
	return p.last
}

func (p *prefixes) forget(block int32) {
	delete(p.nodes, p.known[block])
	delete(p.known, block)
}

// find returns the known blocks that hold a sequence's beginning, as many as
// lie within its first tokens, and the last one's node.
func (p *prefixes) find(q *sequence, tokens int) (found []int32, last uint64) {
	for i := range tokens / batch.BlockSize {
		n, ok := p.nodes[q.content(last, i)]
		if !ok {
			break
		}
		found, last = append(found, n.block), n.id
	}
	return found, last
}

// content is what the sequence's block number i holds once it is full.
func (q *sequence) content(parent uint64, i int) content {
	c := content{parent: parent, slot: q.Slot, version: q.Version}
	if q.Adapter != nil {
		c.slot = anySlot
	}
	copy(c.tokens[:], q.tokens(i*batch.BlockSize, (i+1)*batch.BlockSize))
	return c
}

// remember makes the blocks that a sequence has filled known to others.
func (s *Scheduler) remember(q *sequence) {
	for ; (q.remembered+1)*batch.BlockSize <= q.computed; q.remembered++ {
		own := q.blocks[q.remembered]
		block, id := s.blocks.remember(q.content(q.node, q.remembered), own)
		if block != own {
			q.blocks = append([]int32(nil), q.blocks...) // spans that have been planned keep theirs
			q.blocks[q.remembered] = block
		}
		q.node = id
	}
}
