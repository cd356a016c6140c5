package scheduler

import "fmt"

// Adapter is one request's way to an adapter that need not be on the device when
// the request is submitted. While it is not, the request waits and holds up nobody
// else. The methods are called by the scheduler's loop, so they must be quick, and may
// call no method of the scheduler.
type Adapter interface {
	Name() string // requests of one name queue together
	// Ready tells whether Hold has an answer.
	Ready() bool
	// Lacks says why it has none, for those who have waited in vain; nil: it is on its way.
	Lacks() error
	// Hold keeps a version in its slot until Release, or says why it never can.
	Hold() (slot int, version uint64, err error)
	// Release is called once, when the request has ended, held or not. A request
	// that Submit refuses is its caller's to release.
	Release()
}

// user is on whose behalf a request runs, as far as turns are concerned: an adapter
// by name or, without, a slot.
type user struct {
	slot    int
	adapter string
}

func (q *sequence) user() user {
	if q.Adapter != nil {
		return user{adapter: q.Adapter.Name()}
	}
	return user{slot: q.Slot}
}

// ready tells whether a request's adapter is there, or never will be.
func (q *sequence) ready() bool { return q.Adapter == nil || q.held || q.Adapter.Ready() }

// lacks adds to an error why a request's adapter is not there.
func (q *sequence) lacks(err error) error {
	if why := q.Adapter.Lacks(); why != nil {
		return fmt.Errorf("%w: %w", err, why)
	}
	return fmt.Errorf("%w: adapter %s is on its way", err, q.Adapter.Name())
}

// hold makes sure of a request's adapter, from now on to the request's end.
func (q *sequence) hold() (err error) {
	if q.Adapter == nil || q.held {
		return nil
	}
	if q.Slot, q.Version, err = q.Adapter.Hold(); err == nil {
		q.held = true
	}
	return err
}

// release gives the adapter back.
func (q *sequence) release() {
	if q.Adapter != nil {
		q.Adapter.Release()
	}
}
