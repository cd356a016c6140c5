package engine

import (
	"fmt"
	"slices"
	"time"

	"loquetier/engine/vk"
	"loquetier/shaders"
)

// Trial is what a way took for a class of products.
type Trial struct {
	shaders.Class
	Way    shaders.Way
	Time   time.Duration // of the device, the median of several runs
	Work   vk.Work
	Chosen bool
}

// Choices are the ways that were chosen.
func Choices(trials []Trial) shaders.Choices {
	var c shaders.Choices
	for _, t := range trials {
		if t.Chosen {
			c = append(c, shaders.Choice{Class: t.Class, Way: t.Way})
		}
	}
	return c
}

// ProbeClasses are the classes of products that are measured, those of the fewest
// rows first: the widths of models of one to eight billion parameters.
func ProbeClasses() []shaders.Class {
	const fewestTrained = 16
	widths := []shaders.Class{
		{In: 4096, Out: 4096}, {In: 4096, Out: 4096, Adapters: true},
		{In: 14336, Out: 4096}, {In: 14336, Out: 4096, Adapters: true},
		{In: 4096, Out: 28672, Gated: true}, {In: 4096, Out: 28672, Gated: true, Adapters: true},
		{In: 4096, Out: 32768}, {In: 2048, Out: 2048}, {In: 2048, Out: 16384, Gated: true},
		{Grad: true, In: 4096, Out: 4096}, {Grad: true, In: 4096, Out: 4096, Adapters: true},
		{Grad: true, In: 4096, Out: 28672, Adapters: true}, {Grad: true, In: 14336, Out: 4096, Adapters: true},
	}
	var classes []shaders.Class
	for rows := 1; rows <= shaders.MostRows; rows *= 2 {
		for _, c := range widths {
			if c.Rows = rows; !c.Grad || rows >= fewestTrained {
				classes = append(classes, c)
			}
		}
	}
	return classes
}

// Probe measures the ways that the tuning knows for classes of products, by the
// device's timestamps and with random numbers. It ends when the limit has passed, most of
// which may go to compiling, and passes over classes whose numbers take more than a quarter of
// the free memory; so there may be classes without trials. progress may be nil.
func (k *Kernels) Probe(classes []shaders.Class, limit time.Duration, progress func(done, total int)) ([]Trial, error) {
	classes = slices.DeleteFunc(slices.Clone(classes), func(c shaders.Class) bool { return k.probeBytes(c) > k.probeRoom() })
	p := &probe{kernels: k, classes: classes, recorder: k.device.NewRecorder(true), start: time.Now()}
	defer k.device.ForgetPeak() // it is of what is measured here
	defer p.free()
	var all []Trial
	err := firstError(p.alloc(), p.write())
	if err == nil {
		defer p.compile(p.start.Add(limit * 2 / 3))()
	}
	for i := 0; err == nil && i < len(classes) && time.Since(p.start) < limit; i++ {
		var trials []Trial
		trials, err = p.measure(i)
		all = append(all, trials...)
		if progress != nil {
			progress(i+1, len(classes))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("measure products: %w", err)
	}
	return all, nil
}

// probe is a measurement in progress.
type probe struct {
	kernels  *Kernels
	classes  []shaders.Class
	recorder *vk.Recorder
	start    time.Time
	ways     [][]shaders.Way // of each class
	busy     time.Time       // the device was last
	operands
}

// compile makes the pipelines of the ways as long as there is time, first those
// of the classes with the fewest rows, and keeps the ways that have theirs. Until the
// function returned is called no others are made.
func (p *probe) compile(until time.Time) (end func()) {
	var wanted []pipelineKey
	p.kernels.wanted = &wanted
	missing := func(class int, w shaders.Way) bool {
		p.recorder.Reset()
		before := len(wanted)
		return p.record(class, 0, w) != nil || len(wanted) > before
	}
	for i, c := range p.classes {
		p.ways = append(p.ways, p.worthwhile(i, p.kernels.Tuning.Ways(c)))
		for _, w := range p.ways[i] {
			missing(i, w)
		}
	}
	p.kernels.compileAll(unique(wanted), until, nil)
	for i := range p.classes {
		p.ways[i] = slices.DeleteFunc(p.ways[i], func(w shaders.Way) bool { return missing(i, w) })
	}
	return func() { p.kernels.wanted = nil }
}

// worthwhile are the ways that the device takes. Where there are others, the family
// that runs everywhere is far slower for more than a few rows.
func (p *probe) worthwhile(class int, ways []shaders.Way) []shaders.Way {
	const fewRows = 8
	ways = slices.DeleteFunc(ways, func(w shaders.Way) bool { return !p.takes(class, w) })
	if len(ways) > 1 && p.classes[class].Rows > fewRows {
		ways = slices.DeleteFunc(ways, func(w shaders.Way) bool { return w.Tile != nil })
	}
	return ways
}

// unique drops what has come before.
func unique(keys []pipelineKey) []pipelineKey {
	seen := map[pipelineKey]bool{}
	return slices.DeleteFunc(keys, func(key pipelineKey) bool {
		defer func() { seen[key] = true }()
		return seen[key]
	})
}

func (p *probe) takes(class int, w shaders.Way) bool {
	if p.classes[class].Grad {
		return p.kernels.takesGrad(p.gradient(class, 0), w)
	}
	return p.kernels.takes(p.linear(class, 0), w)
}

// record records a class's product on a copy of the weights.
func (p *probe) record(class, turn int, w shaders.Way) error {
	if p.classes[class].Grad {
		l := p.gradient(class, turn)
		l.Way = w
		return p.kernels.LinearGrad(p.recorder, l)
	}
	l := p.linear(class, turn)
	l.Way = w
	return p.kernels.Linear(p.recorder, l)
}

// tuned is the tuning's way for a class.
func (p *probe) tuned(class int) shaders.Way {
	if p.classes[class].Grad {
		return p.kernels.tunedGradWay(p.gradient(class, 0))
	}
	return p.kernels.tunedWay(p.linear(class, 0))
}

// measure tries the ways of a class, the tuning's first, and chooses among them.
// A way that takes twice as long as the best in its first run has no others.
func (p *probe) measure(class int) ([]Trial, error) {
	tuned, ways := p.tuned(class).String(), p.ways[class]
	at := slices.IndexFunc(ways, func(w shaders.Way) bool { return w.String() == tuned })
	if at < 0 { // it was not compiled in time, so there is nothing to compare with
		return nil, nil
	}
	ways[0], ways[at] = ways[at], ways[0]
	if err := p.warm(); err != nil {
		return nil, err
	}
	var trials []Trial
	best := 0
	for i, w := range ways {
		t := Trial{Class: p.classes[class], Way: w}
		var err error
		if t.Time, t.Work, err = p.time(class, 1, w); err != nil {
			return nil, err
		}
		if i == 0 || t.Time < 2*trials[best].Time {
			if t.Time, _, err = p.time(class, runsIn(t.Time), w); err != nil {
				return nil, err
			}
		}
		trials = append(trials, t)
		if t.Time < trials[best].Time {
			best = i
		}
	}
	return choose(trials), nil
}

// probeTime is how long a way is measured, about; runsIn is how many runs of some length that is.
const probeTime = 2 * time.Millisecond

func runsIn(each time.Duration) int { return max(3, min(15, int(probeTime/max(each, 1)))) }

// choose marks the fastest of a class's trials; the first one, which is the
// tuning's, unless another gains more than measurements differ.
func choose(trials []Trial) []Trial {
	const gain = 0.03
	best := 0
	for i, t := range trials {
		if float64(t.Time) < (1-gain)*float64(trials[0].Time) && t.Time < trials[best].Time {
			best = i
		}
	}
	if len(trials) > 0 {
		trials[best].Chosen = true
	}
	return trials
}

// time is the median device time of so many runs of a way, each on other weights.
func (p *probe) time(class, runs int, w shaders.Way) (time.Duration, vk.Work, error) {
	p.recorder.Reset()
	for n := range runs {
		if err := p.record(class, n%p.copies(class), w); err != nil {
			return 0, vk.Work{}, err
		}
	}
	if err := p.recorder.Run(); err != nil {
		return 0, vk.Work{}, err
	}
	p.busy = time.Now()
	timings, err := p.recorder.Timings()
	slices.SortFunc(timings, func(a, b vk.Timing) int { return int(a.Time - b.Time) })
	if err != nil || len(timings) == 0 {
		return 0, vk.Work{}, err
	}
	t := timings[len(timings)/2]
	return t.Time, t.Work, nil
}

// warm keeps the device busy until its clocks have risen, where it has rested for
// longer than they stay up, or has not run yet.
func (p *probe) warm() error {
	const rest, long = 500 * time.Millisecond, 30 * time.Millisecond
	if time.Since(p.busy) < rest {
		return nil
	}
	for start := time.Now(); time.Since(start) < long; {
		if err := p.draw(); err != nil {
			return err
		}
	}
	return nil
}
