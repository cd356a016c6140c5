package scheduler

import (
	"fmt"
	"slices"
)

// atRest checks that a scheduler that has stopped holds nothing.
func atRest(s *Scheduler) error {
	if used := s.runner.CacheBlocks() - s.blocks.room(); used != 0 || slices.Max(s.blocks.refs) > 0 {
		return fmt.Errorf("%d blocks are in use at the end, references are %v", used, s.blocks.refs)
	}
	if len(s.running)+s.waiting.size+len(s.waiting.lanes)+len(s.between)+len(s.sources) > 0 {
		return fmt.Errorf("at the end %d run, %d wait, %d calls wait, %d sources are left", len(s.running), s.waiting.size, len(s.between), len(s.sources))
	}
	if got := s.Stats(); got.Running+got.Waiting+got.BlocksUsed > 0 || got.BlocksCached+got.BlocksFree != s.runner.CacheBlocks() {
		return fmt.Errorf("at the end the statistics are %+v", got)
	}
	return sound(s)
}

// sound checks the books of the cache's blocks: each is free, cached or in
// use, has as many references as users, and can be found if it is kept.
func sound(s *Scheduler) error {
	b := s.blocks
	users := map[int32]int{}
	for _, q := range s.running {
		for _, block := range q.blocks {
			users[block]++
		}
	}
	nodes := map[uint64]bool{0: true}
	for _, n := range b.prefixes.nodes {
		nodes[n.id] = true
	}
	for i, refs := range b.refs {
		block := int32(i)
		content, known := b.prefixes.known[block]
		free, cached := slices.Contains(b.free, block), b.place[block] != nil
		switch {
		case free && (cached || known || refs != 0) || cached && (!known || refs != 0) || !free && !cached && refs == 0:
			return fmt.Errorf("block %d: free %t, cached %t, known %t, %d references", block, free, cached, known, refs)
		case refs < users[block] || users[block] > 0 && refs != users[block]:
			return fmt.Errorf("block %d has %d references and %d users", block, refs, users[block])
		case known && (!nodes[content.parent] || b.prefixes.nodes[content].block != block):
			return fmt.Errorf("block %d is known, but cannot be found", block)
		}
	}
	if len(b.prefixes.nodes) != len(b.prefixes.known) || len(b.free) > len(slices.Compact(slices.Sorted(slices.Values(b.free)))) {
		return fmt.Errorf("%d nodes of %d blocks; free are %v", len(b.prefixes.nodes), len(b.prefixes.known), b.free)
	}
	return nil
}
