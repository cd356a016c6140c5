package virtualmod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"loquetier/engine"
)

// Loop is what runs the engine's steps, as a Loader sees it. The scheduler is one.
// The methods return when f has run, in the goroutine of the steps, or an error
// where the loop has ended.
type Loop interface {
	Do(f func()) error              // between two steps, with none in flight
	DoBetweenPasses(f func()) error // and where no training waits for the rest of its backward pass
	Beside(f func()) error          // before a step; others may be in flight
}

// A Loader brings the adapters that are wanted onto the device, one after the
// other in the order in which they were wanted, while steps run. Each step is delayed by
// the copying of one piece at most; converting and reading take place in the Loader's
// goroutine. Where there is no slot or memory it waits for one: versions that nobody
// uses make room, the least recently acquired first. Where all are in use, the one
// that has had its slot longest yields it, once it has had it for a while: requests
// that run end on it, new ones wait for their turn. What jobs hold comes free at their end.
type Loader struct {
	base  *Base
	loop  Loop
	ended sync.Mutex     // see afterwards
	ways  sync.WaitGroup // what is on its way for others than Run
}

// NewLoader makes a loader for a base whose steps a loop runs. A base has one.
func NewLoader(b *Base, loop Loop) *Loader {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = true
	return &Loader{base: b, loop: loop}
}

// Run loads what is wanted, and reads what has to leave the device, until ctx is done
// or the loop has ended.
func (l *Loader) Run(ctx context.Context) {
	defer l.base.loadNoMore()
	for ctx.Err() == nil {
		if v := l.base.nextRead(); v != nil {
			if l.putAway(v) != nil {
				return
			}
			continue
		}
		w, wait := l.base.nextWant()
		if w != nil {
			if l.load(w) != nil {
				return
			}
			continue
		}
		var later <-chan time.Time
		if wait > 0 {
			later = time.After(wait)
		}
		select {
		case <-l.base.wake:
		case <-later:
		case <-ctx.Done():
		}
	}
}

// afterwards cleans up where the loop has ended: no step runs any more, but others may be
// cleaning up.
func (l *Loader) afterwards(f func()) {
	l.ended.Lock()
	defer l.ended.Unlock()
	f()
}

// Settle waits until nothing of what was begun by Train, Publish, or a Trainee's Snapshot and
// Restore is under way: once the loop has ended, and before the engine is closed.
func (l *Loader) Settle() { l.ways.Wait() }

// loadNoMore tells all who wait for an adapter, now or later, that none will come.
func (b *Base) loadNoMore() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	for _, w := range slices.Clone(b.wants) {
		b.satisfy(w, ErrNotLoading)
	}
}

// nextRead is a version that is to leave the device and has to be read before, on
// which it takes a lease.
func (b *Base) nextRead() *version {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.residents {
		if v != nil && v.passed() && v.unsaved() && !v.unread {
			v.leases++
			return v
		}
	}
	return nil
}

// putAway reads a version and takes it off the device. What cannot be read stays there until
// its room is wanted: who wants it is told then. An error: the loop has ended.
func (l *Loader) putAway(v *version) error {
	err, stopped := l.save(v)
	if err == nil && stopped == nil {
		stopped = l.loop.Do(func() { _ = l.base.Sweep() }) // what it cannot free is tried again for whoever comes next
	}
	return stopped
}

// cargo is what comes onto the device piece by piece.
type cargo interface {
	Fill() error
	Send() (more bool, err error)
	Cancel()
}

// send sends a cargo piece by piece while it is wanted. Where it cannot, or is not, the
// cargo is abandoned between two steps; errAbandoned tells of the second.
func (l *Loader) send(u cargo, abandon func(), wanted func() bool) error {
	for more := true; more; {
		err := u.Fill()
		var stopped error
		if err == nil {
			stopped = l.loop.Beside(func() { more, err = u.Send() })
		}
		if err == nil && stopped == nil && !wanted() {
			err = errAbandoned
		}
		if err == nil && stopped == nil {
			continue
		}
		if closed := l.loop.Do(abandon); closed != nil {
			l.afterwards(u.Cancel)
			return closed
		}
		return cmp.Or(err, stopped)
	}
	return nil
}

// errAbandoned is the error of an upload that nobody waits for any longer.
var errAbandoned = errors.New("nobody waits for it")

// unsavedError tells of a version that could make room, once it has been read.
type unsavedError struct{ version *version }

func (unsavedError) Error() string { return "an adapter has to be read first" }

// stay keeps a version where it is while it is read.
func (v *version) stay() error {
	v.leases++
	return unsavedError{v}
}

// unsaved tells whether a version that may be wanted again is nowhere but on the
// device.
func (v *version) unsaved() bool { return v.host == nil && v.kept() }

func (b *Base) hasSlot() bool {
	_, err := b.freeSlot()
	return err == nil
}

// nextWant is the first want, but for those that wait for the end of a job, where there may
// be room for it; else how long it will
// be at most until one that is in use can be told to yield, 0: as long as it takes.
func (b *Base) nextWant() (*want, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.wants, func(w *want) bool { return !w.jobs })
	if i < 0 {
		return nil, 0
	}
	w := b.wants[i]
	l := b.names[w.name]
	if l == nil || l.current.slot != nowhere && l.current != b.yields || b.hasSlot() && !w.full || b.idle() != nil {
		return w, 0
	}
	return nil, b.yield()
}

// yield chooses a version in use to make room, or says how long until one will
// have had its slot long enough. What an older version of a name holds comes free
// by itself.
func (b *Base) yield() time.Duration {
	if b.yields != nil {
		return 0
	}
	var longest *version
	for _, v := range b.residents {
		if v != nil && v == v.lineage.current && (longest == nil || v.since.Before(longest.since)) {
			longest = v
		}
	}
	if longest == nil {
		return 0
	}
	if left := b.turn - time.Since(longest.since); left > 0 {
		return left
	}
	b.yields = longest
	return 0
}

// load brings what is wanted onto the device, or finds out that it cannot be done
// now. An error: the loop has ended.
func (l *Loader) load(w *want) error {
	var u *engine.Upload
	var v *version
	var err error
	if stopped := l.loop.Do(func() { u, v, err = l.base.beginLoad(w) }); stopped != nil {
		return stopped
	}
	var unsaved unsavedError
	switch {
	case errors.As(err, &unsaved):
		return l.make(w, unsaved.version)
	case u != nil:
		return l.upload(w, v, u)
	}
	return nil
}

// make reads a version that is to make room for a want.
func (l *Loader) make(w *want, v *version) error {
	err, stopped := l.save(v)
	if err != nil && stopped == nil {
		stopped = l.loop.Do(func() { l.base.fail(w, err) })
	}
	return stopped
}

// beginLoad makes room for a want. Without an upload there is nothing to load: it
// is there, cannot be, or has to wait.
func (b *Base) beginLoad(w *want) (u *engine.Upload, v *version, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, err := b.find(w.name)
	if err != nil {
		b.satisfy(w, err)
		return nil, nil, nil
	}
	if v = l.current; b.gives(v) {
		b.satisfy(w, nil)
		return nil, nil, nil
	}
	if err = b.sweep(); err == nil {
		u, err = b.makeRoom(func(slot int) (*engine.Upload, error) { return v.host.begin(b.engine, slot) })
	}
	var unsaved unsavedError
	switch {
	case errors.As(err, &unsaved):
		return nil, nil, err
	case err != nil && wantsRoom(err) && b.used():
		w.full = errors.Is(err, engine.ErrOutOfMemory)
		w.jobs = w.full && !b.serves()
	case err != nil:
		b.satisfy(w, fmt.Errorf("load adapter %s: %w", w.name, err))
	}
	return u, v, nil
}

// used tells whether requests or jobs use the device, of which something may come free.
func (b *Base) used() bool { return b.serves() || slices.Contains(b.jobs, true) }

// serves tells whether an adapter is on the device, or on its way there, that is not a
// job's yet.
func (b *Base) serves() bool {
	return slices.Contains(b.coming, true) || slices.ContainsFunc(b.residents, func(v *version) bool { return v != nil })
}

// makeRoom finds a slot and memory for what begin begins to bring.
func (b *Base) makeRoom(begin func(slot int) (*engine.Upload, error)) (u *engine.Upload, err error) {
	for {
		slot, err := b.freeSlot()
		if err == nil {
			if u, err = begin(slot); err == nil {
				b.coming[slot] = true
				return u, nil
			}
		}
		idle := b.idle()
		if idle == nil || !wantsRoom(err) {
			return nil, err
		}
		if idle.unsaved() {
			return nil, idle.stay()
		}
		if err := b.putOut(idle); err != nil {
			return nil, err
		}
	}
}

// upload sends a version piece by piece.
func (l *Loader) upload(w *want, v *version, u *engine.Upload) error {
	err := l.send(u, func() { l.base.abandon(u) }, func() bool { return l.base.stillWanted(w, v) })
	switch {
	case errors.Is(err, errAbandoned):
		return nil // what is wanted now is seen to next
	case err != nil:
		return l.loop.Do(func() { l.base.fail(w, err) })
	}
	stopped := l.loop.Do(func() { l.base.endLoad(w, v, u) })
	if stopped != nil {
		l.afterwards(u.Cancel)
	}
	return stopped
}

// fail ends a want that cannot be had. It is called from the loop, which then sees to
// those who waited for it.
func (b *Base) fail(w *want, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.satisfy(w, fmt.Errorf("load adapter %s: %w", w.name, err))
}

// stillWanted tells whether a version that is on its way would be used.
func (b *Base) stillWanted(w *want, v *version) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, other := range b.wants {
		if other == w {
			return v == v.lineage.current
		}
	}
	return false
}

// abandon gives up an upload. What is wanted now is seen to next.
func (b *Base) abandon(u *engine.Upload) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u.Cancel()
	b.coming[u.Slot()] = false
	b.freed()
}

// endLoad puts a version that has come into its slot.
func (b *Base) endLoad(w *want, v *version, u *engine.Upload) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.coming[u.Slot()] = false
	if v.slot != nowhere { // it has come another way
		u.Cancel()
		b.satisfy(w, nil)
		return
	}
	err := u.Finish()
	if err == nil {
		b.settle(v, u.Slot())
		b.touch(v)
	} else {
		err = fmt.Errorf("load adapter %s: %w", w.name, err)
	}
	b.satisfy(w, err)
}

// save reads a version that is nowhere but on the device, on which it has a lease,
// which it gives back. The second error: the loop has ended.
func (l *Loader) save(v *version) (err, stopped error) {
	var d *engine.Download
	stopped = l.loop.Beside(func() { d, err = l.base.engine.BeginSave(v.slot) })
	if d != nil {
		err, stopped = l.fetch(d)
	}
	l.base.mu.Lock()
	defer l.base.mu.Unlock()
	v.leases--
	if v.unread = err != nil; stopped == nil && err == nil {
		v.host = image{d.Image()}
	}
	return err, stopped
}

// fetch has a download come piece by piece, and ends it. The second error: the loop has
// ended.
func (l *Loader) fetch(d *engine.Download) (err, stopped error) {
	for more := true; more && stopped == nil && err == nil; {
		if stopped = l.loop.Beside(func() { more, err = d.Send() }); stopped == nil && err == nil {
			d.Take()
		}
	}
	if closed := l.loop.Beside(d.Close); closed != nil {
		l.afterwards(d.Close)
	}
	return err, stopped
}
