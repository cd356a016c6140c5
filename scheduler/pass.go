package scheduler

import (
	"loquetier/engine/batch"
)

// pass is the training that begins with one step: the sources' work, and the
// slices of its backward pass, which this step and later ones run. The sources are asked
// again when it is over; until then its cache blocks are its own.
type pass struct {
	works       []*work
	rows, pairs float64 // of its training spans: see mix
	left        int     // slices that no step has
	planned     bool    // a step has its last slice and its updates
}

// newPass is the pass of what sources offer: of so many slices, if anything trains.
func newPass(works []*work, slices int) *pass {
	p := &pass{works: works}
	var x mix
	for _, w := range works {
		for i := range w.spans {
			if w.spans[i].Kind == batch.Train {
				x.span(&w.spans[i])
			}
		}
	}
	p.rows, p.pairs = x[mixRows], x[mixPairs]
	if p.rows > 0 {
		p.left = slices
	}
	return p
}

// updates are those of all its works whose sources have not ended meanwhile.
func (p *pass) updates() (all []batch.Update) {
	for _, w := range p.works {
		if w.source.Done() {
			w.updates = nil
		}
		all = append(all, w.updates...)
	}
	return all
}

// run plans a number of slices into a step, and behind the last of all slices
// the updates.
func (p *pass) run(f *flight, slices int) {
	f.backward = slices
	f.mix.backward(slices, p.rows, p.pairs)
	if p.left -= slices; p.left == 0 {
		f.updates, p.planned, f.ends = p.updates(), true, p
		f.mix[mixUpdates] = float64(len(f.updates))
	}
}

// finish answers the sources once all of their work has run. Each gets its
// cache blocks back before it goes on. One that has ended meanwhile is not answered.
func (s *Scheduler) finish(p *pass, norms []float64) {
	s.pass = nil
	for _, w := range p.works {
		s.blocks.release(w)
		n := len(w.updates)
		if !w.source.Done() {
			w.source.Commit(w.picks, norms[:n])
		}
		norms = norms[n:]
	}
}

// dropPass gives up on the pass, whose sources are about to fail.
func (s *Scheduler) dropPass() {
	if s.pass == nil {
		return
	}
	for _, w := range s.pass.works {
		s.blocks.release(w)
	}
	s.pass = nil
}

// release gives back the cache blocks of a source's spans.
func (b *blocks) release(w *work) {
	for i := range w.spans {
		b.put(w.spans[i].Blocks)
		w.spans[i].Blocks = nil
	}
}

// train plans the training of a step whose requests have been planned.
func (s *Scheduler) train(f *flight) {
	f.serving = f.mix
	r := s.ration(f)
	if s.pass == nil {
		r = s.beginSomewhere(f, r)
	}
	p := s.pass
	if p == nil || p.planned {
		return
	}
	slices := s.slicesFor(f, p, r)
	if slices > 0 || p.left == 0 {
		p.run(f, slices)
	}
	if p.left > 0 && f.limit == LimitNothing {
		f.limit = LimitTarget
	}
}

// slicesFor is the number of slices that a step takes.
func (s *Scheduler) slicesFor(f *flight, p *pass, r ration) int {
	step := func(n int) mix {
		x := f.mix
		x.backward(n, p.rows, p.pairs)
		return x
	}
	n := s.cost.fitting(p.left, r.target, true, step)
	if n == p.left || n > 0 && !f.forced {
		return n
	}
	more := s.cost.fitting(p.left, r.floor, false, step)
	if more == 0 && r.must {
		more = 1
	}
	if more > n {
		n = more
		x := step(n)
		f.force(s.cost.bound(&x), r)
	}
	return n
}

// patience is the number of passes in a row that may begin without the source
// whose turn it is, as its sequences are too long for what the targets leave.
const patience = 16

// begin asks the sources for the work of the next pass.
func (s *Scheduler) begin(f *flight, r ration) {
	sources := s.contenders()
	if len(sources) == 0 {
		s.floor.forgive()
		s.hungry = false
		return
	}
	room := min(f.room, s.runner.TrainRows())
	rows := s.rowsFor(f, room, r)
	if s.floor.must() {
		rows = max(rows, s.cost.fitting(room, r.overdue, true, s.training(f)))
	}
	overlooked := s.floor.share > 0 && s.passed >= patience
	r.must = r.must || overlooked
	works := s.collect(f, sources, rows, room, r)
	waits := !sources[0].Done() && (len(works) == 0 || works[0].source != sources[0])
	switch {
	case !waits:
		s.passed = 0
	case len(works) > 0:
		s.passed++
	}
	s.hungry = waits && (s.floor.must() || overlooked)
	if len(works) > 0 {
		s.enter(f, newPass(works, s.runner.Slices()))
		f.force(s.cost.bound(&f.mix), r)
	}
}

// force notes that a step has more training than the targets allow.
func (f *flight) force(bound float64, r ration) {
	if !r.alone && bound > r.target {
		f.forced, f.limit = true, LimitFloor
	}
}

// training is a step with so many training rows.
func (s *Scheduler) training(f *flight) func(rows int) mix {
	return func(rows int) mix {
		x := f.mix
		x.train(rows, s.keys)
		return x
	}
}

// rowsFor is the number of training rows that the targets allow.
func (s *Scheduler) rowsFor(f *flight, room int, r ration) int {
	if s.crowded() {
		f.limit = LimitBlocks
		return 0
	}
	step := s.training(f)
	rows := s.cost.fitting(room, r.target, true, step)
	switch {
	case rows < room:
		f.limit = LimitTarget
		x := step(rows)
		s.cost.dare(&x)
	case room < s.runner.TrainRows():
		f.limit = LimitRows
	}
	return rows
}

// collect asks each source for work, in order, as long as there are rows. Where
// training must get something, the first that has any gets as many rows as it takes.
func (s *Scheduler) collect(f *flight, sources []*contender, rows, room int, r ration) (works []*work) {
	for _, c := range sources {
		w := s.offer(c, rows, works)
		if w == nil && r.must && len(works) == 0 {
			w = s.insist(c, rows, room)
		}
		if w == nil {
			continue
		}
		if len(works) == 0 {
			s.serve(c.start)
		}
		rows = max(0, rows-w.rows())
		c.start += float64(w.rows()) / c.weight
		works = append(works, w)
	}
	return works
}

// insist asks a source with more and more rows until it offers something. One
// that does not take all there is in a step of its own never will.
func (s *Scheduler) insist(c *contender, rows, room int) *work {
	for rows < room {
		rows = min(room, max(rows+batch.BlockSize, rows+rows/4))
		if w := s.offer(c, rows, nil); w != nil {
			return w
		}
	}
	if len(s.running)+len(s.flights) == 0 && !c.Done() {
		s.failSource(c)
	}
	return nil
}

// enter begins a pass with a step.
func (s *Scheduler) enter(f *flight, p *pass) {
	s.pass = p
	for _, w := range p.works {
		for i := range w.spans {
			f.shares = append(f.shares, share{work: w, index: i, span: w.spans[i]})
			f.mix.span(&w.spans[i])
		}
	}
	if p.rows > 0 {
		s.keys = p.pairs / p.rows
	}
}
