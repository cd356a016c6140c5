package scheduler

// floor is the share of time that training never falls under while it has
// work. The targets come first as long as the debt is less than the share of floorWindow: over
// longer times the average is kept. Times are in seconds.
type floor struct {
	share   float64
	owed    float64 // that training has had less than its share; negative: more
	charged float64 // that it gets in the steps in flight, as predicted
}

const floorWindow = 10 // seconds

// most is the debt that is repaid at once, whatever it takes.
func (f *floor) most() float64 { return f.share * floorWindow }

// due is the time that training is owed now.
func (f *floor) due() float64 {
	if f.share == 0 {
		return 0
	}
	return max(0, f.owed-f.charged)
}

// must tells whether training gets the least that can run, however long it takes.
func (f *floor) must() bool { return f.share > 0 && f.due() >= f.most() }

// late tells whether training does not get what is due: it lacks room.
func (f *floor) late() bool { return f.share > 0 && f.due() > 1.5*f.most() }

// charge notes what a step that has been started gives training.
func (f *floor) charge(training float64) { f.charged += training }

// settle notes what a step gave training once it has ended, and what it was
// charged. What training got because time was left over is saved up for no longer than the window;
// what it got from others' time is paid back in full.
func (f *floor) settle(took, training, charged float64, forced bool) {
	f.charged = max(0, f.charged-charged)
	least := -f.most()
	if forced {
		least = f.owed - training
	}
	after := f.owed + f.share*took - training
	f.owed = min(max(after, min(f.owed, least)), 2*f.most())
}

// forgive ends the debt of training that has no work left.
func (f *floor) forgive() { f.owed = 0 }
