package engine

import (
	"cmp"
	"slices"
	"time"

	"loquetier/engine/vk"
)

// Profile sums the device time of each kernel over the steps of an engine
// that was made with Config.Profile.
type Profile struct {
	calls map[call]*KernelTime
}

// call tells a kernel's calls apart by their size.
type call struct {
	name string
	work vk.Work
}

// KernelTime is a kernel's share.
type KernelTime struct {
	Name  string
	Calls int
	Time  time.Duration
	Work  vk.Work // of all calls
}

// GBps is the rate of memory traffic the kernel's operands need at least.
func (k KernelTime) GBps() float64 { return rate(k.Work.Bytes, k.Time) }

// GFlops is the rate of arithmetic.
func (k KernelTime) GFlops() float64 { return rate(k.Work.Flops, k.Time) }

func rate(amount float64, t time.Duration) float64 {
	if t <= 0 {
		return 0
	}
	return amount / float64(t.Nanoseconds())
}

func newProfile() *Profile { return &Profile{calls: map[call]*KernelTime{}} }

func (p *Profile) add(rec *vk.Recorder) error {
	timings, err := rec.Timings()
	if err != nil {
		return err
	}
	for _, t := range timings {
		key := call{t.Name, t.Work}
		k := p.calls[key]
		if k == nil {
			k = &KernelTime{Name: t.Name}
			p.calls[key] = k
		}
		k.merge(KernelTime{Calls: 1, Time: t.Time, Work: t.Work})
	}
	return nil
}

func (k *KernelTime) merge(other KernelTime) {
	k.Calls += other.Calls
	k.Time += other.Time
	k.Work.Add(other.Work)
}

// Profile lists the kernels, the most time first; nil without Config.Profile.
func (e *Engine) Profile() []KernelTime {
	kernels := map[string]*KernelTime{}
	for _, k := range e.ProfileCalls() {
		if kernels[k.Name] == nil {
			kernels[k.Name] = &KernelTime{Name: k.Name}
		}
		kernels[k.Name].merge(k)
	}
	var list []KernelTime
	for _, k := range kernels {
		list = append(list, *k)
	}
	slices.SortFunc(list, byTime)
	return list
}

// ProfileCalls lists the kernels as Profile does, the calls of each size
// apart: so the products of a layer can be told from each other.
func (e *Engine) ProfileCalls() []KernelTime {
	if e.profile == nil {
		return nil
	}
	var list []KernelTime
	for _, k := range e.profile.calls {
		list = append(list, *k)
	}
	slices.SortFunc(list, byTime)
	return list
}

// ResetProfile begins the profile anew.
func (e *Engine) ResetProfile() {
	if e.profile != nil {
		e.profile = newProfile()
	}
}

func byTime(a, b KernelTime) int {
	return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Name, b.Name), cmp.Compare(b.Work.Flops, a.Work.Flops), cmp.Compare(b.Work.Bytes, a.Work.Bytes))
}
