package vk

/*
#include "native.h"
*/
import "C"

import (
	"errors"
	"slices"
	"time"
	"unsafe"

	vulkan "github.com/vulkan-go/vulkan"
)

// Timing is the device time of one operation of a timed step.
type Timing struct {
	Name string
	Time time.Duration
	Work Work
}

// Run records the step, submits it, and waits for it.
func (r *Recorder) Run() error {
	if r.err == nil && len(r.words) == 0 {
		return nil
	}
	own := r.device.own
	if err := r.Record(own); err != nil {
		return err
	}
	if err := own.Submit(); err != nil {
		return err
	}
	return own.Wait()
}

// Record makes the step the content of a command buffer, with one call, once
// the buffer's last submission has ended.
func (r *Recorder) Record(to *Commands) error {
	if r.err != nil {
		return r.err
	}
	if checking() {
		if err := r.verify(); err != nil {
			return err
		}
		to.words = slices.Clone(r.words)
	}
	if err := to.Wait(); err != nil {
		return err
	}
	d, queries := r.device, C.uint32_t(0)
	if len(r.names) > 0 {
		queries = C.uint32_t(len(r.names) + 1)
	}
	code := C.lq_record(&d.calls, unsafe.Pointer(to.handle), C.uint64_t(handle64(d.layout)), C.uint64_t(handle64(d.queries)),
		queries, (*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(r.words))), C.size_t(len(r.words)))
	return check("record a step", vulkan.Result(code))
}

// Matches tells, in checking mode, whether a command buffer holds what is
// recorded.
func (r *Recorder) Matches(c *Commands) error {
	if r.err != nil {
		return r.err
	}
	if !slices.Equal(r.words, c.words) {
		return errors.New("BUG: commands that are used again are not those of the step")
	}
	return nil
}

// Timings reads the timestamps of a timed step that has run.
func (r *Recorder) Timings() ([]Timing, error) {
	if len(r.names) == 0 {
		return nil, nil
	}
	const resultIs64Bit, wait = 1, 2
	stamps := make([]uint64, len(r.names)+1)
	code := vulkan.GetQueryPoolResults(r.device.handle, r.device.queries, 0, uint32(len(stamps)),
		uint(8*len(stamps)), unsafe.Pointer(&stamps[0]), 8, vulkan.QueryResultFlags(resultIs64Bit|wait))
	if err := check("vkGetQueryPoolResults", code); err != nil {
		return nil, err
	}
	out := make([]Timing, len(r.names))
	for i, name := range r.names {
		ticks := float64(stamps[i+1] - stamps[i])
		out[i] = Timing{Name: name, Time: time.Duration(ticks * r.device.Info.TimestampPeriod), Work: r.work[i]}
	}
	return out, nil
}
