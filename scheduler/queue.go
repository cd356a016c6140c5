package scheduler

import (
	"cmp"
	"slices"
	"time"
)

// Aging is how long a request waits to make up for one level of priority: see
// Request.Priority.
const Aging = 10 * time.Second

// queue holds the requests that wait, in lanes of one priority and slot, each
// in order of arrival.
//
// Between priorities the request that is due first decides, where being due is
// the time of arrival less Aging for each level of priority. This order never
// changes, and only finitely many requests can come before one: nobody starves,
// however many of a higher priority keep coming. Within a priority those that have
// run before and were preempted go first, then the slots take turns, so that a
// flood on one adapter does not hold up another.
type queue struct {
	lanes map[lane][]*sequence
	size  int
	turns map[int]uint64 // by slot: the last turn that it had
	turn  uint64
}

type lane struct{ priority, slot int }

func newQueue() queue { return queue{lanes: map[lane][]*sequence{}, turns: map[int]uint64{}} }

func (q *sequence) lane() lane { return lane{q.Priority, q.Slot} }

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

// next is the request to admit next, nil where none waits.
func (w *queue) next() *sequence {
	var next *sequence
	for _, waiting := range w.lanes {
		if next == nil || order(waiting[0], next) < 0 {
			next = waiting[0]
		}
	}
	for lane, waiting := range w.lanes {
		if lane.priority == next.Priority && w.compare(waiting[0], next) < 0 {
			next = waiting[0]
		}
	}
	return next
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
	return cmp.Or(cmp.Compare(w.turns[a.Slot], w.turns[b.Slot]), order(a, b))
}

// pop removes a request that next returned.
func (w *queue) pop(q *sequence) {
	waiting := w.lanes[q.lane()]
	waiting[0] = nil
	w.keep(q.lane(), waiting[1:])
	w.size--
}

// took notes that a request has had its slot's turn.
func (w *queue) took(q *sequence) {
	w.turn++
	w.turns[q.Slot] = w.turn
}

// drop removes all requests for which gone says so.
func (w *queue) drop(gone func(*sequence) bool) {
	for lane, waiting := range w.lanes {
		kept := slices.DeleteFunc(waiting, gone)
		w.size -= len(waiting) - len(kept)
		w.keep(lane, kept)
	}
}

func (w *queue) keep(lane lane, waiting []*sequence) {
	if len(waiting) == 0 {
		delete(w.lanes, lane)
		return
	}
	w.lanes[lane] = waiting
}
