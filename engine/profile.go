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
	kernels map[string]*KernelTime
}

// KernelTime is a kernel's share.
type KernelTime struct {
	Name  string
	Calls int
	Time  time.Duration
	Work  vk.Work
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

func newProfile() *Profile { return &Profile{kernels: map[string]*KernelTime{}} }

func (p *Profile) add(rec *vk.Recorder) error {
	timings, err := rec.Timings()
	if err != nil {
		return err
	}
	for _, t := range timings {
		k := p.kernels[t.Name]
		if k == nil {
			k = &KernelTime{Name: t.Name}
			p.kernels[t.Name] = k
		}
		k.Calls++
		k.Time += t.Time
		k.Work.Bytes += t.Work.Bytes
		k.Work.Flops += t.Work.Flops
	}
	return nil
}

// Profile lists the kernels, the most time first; nil without Config.Profile.
func (e *Engine) Profile() []KernelTime {
	if e.profile == nil {
		return nil
	}
	var list []KernelTime
	for _, k := range e.profile.kernels {
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b KernelTime) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Name, b.Name))
	})
	return list
}
