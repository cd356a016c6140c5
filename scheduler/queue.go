package scheduler

import (
	"cmp"
	"slices"
	"time"
)

// Aging is how long a request waits to make up for one level of priority: see
// Request.Priority.
const Aging = 10 * time.Second

// queue holds the requests that wait, in lanes of one priority and user, each
// in order of arrival.
//
// Between priorities the request that is due first decides, where being due is
// the time of arrival less Aging for each level of priority. This order never
// changes, and only finitely many requests can come before one: nobody starves,
// however many of a higher priority keep coming. Within a priority those that have
// run before and were preempted go first, then the users take turns, so that a
// flood on one adapter does not hold up another. Lanes whose adapters are not there yet
// are passed over.
type queue struct {
	lanes map[lane][]*sequence
	size  int
	open  []lane          // those whose first request can be begun, as opened found them
	turns map[user]uint64 // the last turn that each had
	turn  uint64
}

type lane struct {
	priority int
	user     user
}

func newQueue() queue { return queue{lanes: map[lane][]*sequence{}, turns: map[user]uint64{}} }

func (q *sequence) lane() lane { return lane{q.Priority, q.user()} }

// order compares two sequences: negative where a is due before b.
func order(a, b *sequence) int {
	return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.number, b.number))
}

// push adds a request at its place in its lane: a preempted one came before
// all that still wait there.
func (w *queue) push(q *sequence) {
	waiting := w.lanes[q.lane()]
	at, _ := slices.BinarySearchFunc(waiting, q, order)
	w.lanes[q.lane()] = slices.Insert(waiting, at, q)
	w.size++
}

// opened looks for the lanes that next chooses among.
func (w *queue) opened() {
	w.open = w.open[:0]
	for lane, waiting := range w.lanes {
		if waiting[0].ready() {
			w.open = append(w.open, lane)
		}
	}
}

// begins tells whether a request waits that can be begun.
func (w *queue) begins() bool {
	for _, waiting := range w.lanes {
		if waiting[0].ready() {
			return true
		}
	}
	return false
}

// next is the request to admit next, nil where none waits that can be begun.
func (w *queue) next() *sequence {
	var next *sequence
	for _, lane := range w.open {
		if first := w.lanes[lane][0]; next == nil || order(first, next) < 0 {
			next = first
		}
	}
	for _, lane := range w.open {
		if first := w.lanes[lane][0]; lane.priority == next.Priority && w.compare(first, next) < 0 {
			next = first
		}
	}
	return next
}

// oldest is the request that came first among the first of each lane, or among
// those of them that can be begun; nil where there is none.
func (w *queue) oldest(begins bool) *sequence {
	var oldest *sequence
	for _, waiting := range w.lanes {
		first := waiting[0]
		if (oldest == nil || first.arrived.Before(oldest.arrived)) && (!begins || first.ready()) {
			oldest = first
		}
	}
	return oldest
}

// compare orders the first requests of two lanes of one priority.
func (w *queue) compare(a, b *sequence) int {
	switch {
	case a.resumes && b.resumes:
		return order(a, b)
	case a.resumes:
		return -1
	case b.resumes:
		return 1
	}
	return cmp.Or(cmp.Compare(w.turns[a.user()], w.turns[b.user()]), order(a, b))
}

// pop removes a request that next returned.
func (w *queue) pop(q *sequence) {
	from := q.lane()
	waiting := w.lanes[from]
	waiting[0] = nil
	w.keep(from, waiting[1:])
	w.size--
	if len(waiting) == 1 || !waiting[1].ready() {
		w.open = slices.DeleteFunc(w.open, func(l lane) bool { return l == from })
	}
}

// took notes that a request has had its user's turn.
func (w *queue) took(q *sequence) {
	w.turn++
	w.turns[q.user()] = w.turn
}

// drop removes all requests for which gone says so, once of each.
func (w *queue) drop(gone func(*sequence) bool) {
	for lane, waiting := range w.lanes {
		kept := slices.DeleteFunc(waiting, gone)
		w.size -= len(waiting) - len(kept)
		w.keep(lane, kept)
	}
}

// dropOld is drop where only the first requests of a lane can be old enough.
// Those that have run before come ahead of them.
func (w *queue) dropOld(gone func(*sequence) bool) {
	for lane, waiting := range w.lanes {
		n := 0
		for n < len(waiting) && (waiting[n].resumes || gone(waiting[n])) {
			n++
		}
		kept := slices.DeleteFunc(waiting[:n:n], func(q *sequence) bool { return !q.resumes })
		if len(kept) < n {
			w.size -= n - len(kept)
			w.keep(lane, slices.Concat(kept, waiting[n:]))
		}
	}
}

func (w *queue) keep(lane lane, waiting []*sequence) {
	if len(waiting) == 0 {
		delete(w.lanes, lane)
		return
	}
	w.lanes[lane] = waiting
}
