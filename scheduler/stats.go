package scheduler

// Stats is what a scheduler has done and what it holds.
type Stats struct {
	Running, Waiting int    // requests; preempted ones wait
	Preempted        uint64 // times that a running request had to wait again, since the start
	PrefixTokens     uint64 // tokens that were found in the cache instead of computed, since the start

	BlocksUsed   int // by running requests, however many share them, and by sources
	BlocksCached int // kept for requests with the same beginning; taken when room is needed
	BlocksFree   int

	Sources int // of training
}

// Stats returns a snapshot taken before the step that is running; Waiting is
// of this moment. It may be called from any goroutine.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Waiting, stats.Sources = s.waiting.size, len(s.sources)
	return stats
}

// record takes the snapshots that Stats, Totals and Cost return.
func (s *Scheduler) record() {
	stats := Stats{
		Running: len(s.running), Preempted: s.preempted, PrefixTokens: s.reused,
		BlocksUsed:   s.runner.CacheBlocks() - s.blocks.room(),
		BlocksCached: s.blocks.cached.Len(), BlocksFree: len(s.blocks.free),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats, s.known, s.told = stats, s.cost, s.totals
}
