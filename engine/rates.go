package engine

import (
	"fmt"
	"slices"
	"time"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// Rates are what a device reaches at best: the limits that the speeds of
// kernels are shares of.
type Rates struct {
	Copy     float64       // bytes a second, read and written, of a large copy in device memory
	Matrix   float64       // operations a second of a large square product
	Dispatch time.Duration // of a kernel that does next to nothing, with the barrier before it
}

// Rates measures the device with the engine's kernels, by timestamps. It takes
// a part of the free memory for as long as it runs.
func (e *Engine) Rates() (Rates, error) {
	copied, side := uint64(255<<20), 4096 // workgroups of one dimension, and several times a large cache
	if e.device.Info.Type == vk.CPU {
		copied, side = 32<<20, 256
	}
	var r Rates
	var err error
	if r.Copy, err = e.copyRate(copied); err != nil {
		return r, fmt.Errorf("measure the copy rate: %w", err)
	}
	if r.Matrix, err = e.matrixRate(side); err != nil {
		return r, fmt.Errorf("measure the matrix rate: %w", err)
	}
	if r.Dispatch, err = e.dispatchTime(); err != nil {
		return r, fmt.Errorf("measure an empty dispatch: %w", err)
	}
	return r, nil
}

// copyRate copies between two buffers of so many bytes, by a kernel: the copy
// commands of some drivers are far slower.
func (e *Engine) copyRate(size uint64) (float64, error) {
	var t time.Duration
	err := e.lend([]uint64{size, size}, func(b []vk.Buffer) (err error) {
		t, err = e.median(func(rec *vk.Recorder) error {
			return e.kernels.Stream(rec, Stream{From: b[0].All(), To: b[1].All(), Count: int(size / 4)})
		}, 1)
		return err
	})
	return 2 * float64(size) / t.Seconds(), err
}

// matrixRate multiplies square matrices of random numbers.
func (e *Engine) matrixRate(side int) (float64, error) {
	k, act, n := e.kernels, e.kernels.Act, side*side
	sizes := []uint64{uint64(n * k.Weight.Size()), uint64(n * act.Size()), uint64(4 * n), partBytes}
	var t time.Duration
	err := e.lend(sizes, func(b []vk.Buffer) error {
		table := vk.Bytes([]part{{w: b[0].Address, n: uint32(side)}})
		if err := e.device.Write(b[3], 0, uint64(len(table)), imageContents(table)); err != nil {
			return err
		}
		rec := e.device.NewRecorder(false)
		random := weights.Random{Seed: 1, Deviation: 0.02}
		if err := firstError(
			k.Random(rec, Random{X: b[0].All(), Type: k.Weight, Count: n, Random: random}),
			k.Random(rec, Random{X: b[1].All(), Type: act, Count: n, Random: random}), rec.Run()); err != nil {
			return err
		}
		product := Linear{
			Product: Product{Table: b[3].All(), Weights: []vk.Range{b[0].All()}, In: side, Outs: []int{side}},
			X:       b[1].All(), Y: b[2].All(), Rows: side,
		}
		var err error
		t, err = e.median(func(rec *vk.Recorder) error { return k.Linear(rec, product) }, 1)
		return err
	})
	return 2 * float64(side) * float64(n) / t.Seconds(), err
}

// dispatchTime writes four numbers over and over, each time waiting for the
// last.
func (e *Engine) dispatchTime() (time.Duration, error) {
	const calls = 64
	var t time.Duration
	err := e.lend([]uint64{16}, func(b []vk.Buffer) (err error) {
		t, err = e.median(func(rec *vk.Recorder) error {
			return e.kernels.Random(rec, Random{X: b[0].All(), Type: weights.F32, Count: 4})
		}, calls)
		return err
	})
	return t, err
}

// median is the median time of an operation that is run so often in each of a
// few submissions, the first apart, which makes its kernel ready.
func (e *Engine) median(record func(*vk.Recorder) error, calls int) (time.Duration, error) {
	const submissions = 6
	var times []time.Duration
	rec := e.device.NewRecorder(true)
	for i := range submissions {
		rec.Reset()
		for range calls {
			if err := record(rec); err != nil {
				return 0, err
			}
		}
		if err := rec.Run(); err != nil {
			return 0, err
		}
		timings, err := rec.Timings()
		if err != nil {
			return 0, err
		}
		for _, timing := range timings {
			if i > 0 {
				times = append(times, timing.Time)
			}
		}
	}
	slices.Sort(times)
	return max(times[len(times)/2], 1), nil
}

// lend runs f with buffers that are freed afterwards.
func (e *Engine) lend(sizes []uint64, f func([]vk.Buffer) error) error {
	var lent []vk.Buffer
	defer func() {
		for _, b := range lent {
			e.device.Free(b)
		}
	}()
	for _, size := range sizes {
		b, err := e.device.Alloc(vk.Local, size)
		if err != nil {
			return err
		}
		lent = append(lent, b)
	}
	return f(lent)
}
