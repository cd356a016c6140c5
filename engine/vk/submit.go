package vk

/*
#include "native.h"
*/
import "C"

import (
	"fmt"
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

// Run records the step with one call, submits it, and waits for it.
func (r *Recorder) Run() error {
	if r.err != nil {
		return r.err
	}
	if len(r.words) == 0 {
		return nil
	}
	if checking() {
		if err := r.verify(); err != nil {
			return err
		}
	}
	d := r.device
	if err := firstError(r.record(), d.ensureFence()); err != nil {
		return err
	}
	code := C.lq_submit(&d.calls, unsafe.Pointer(d.handle), unsafe.Pointer(d.queue), unsafe.Pointer(d.commands), C.uint64_t(handle64(d.fence)))
	if err := check("submit a step", vulkan.Result(code)); err != nil {
		return fmt.Errorf("device %s: %w", d.Info.Name, err)
	}
	return nil
}

func (r *Recorder) record() error {
	d := r.device
	queries := C.uint32_t(0)
	if len(r.names) > 0 {
		queries = C.uint32_t(len(r.names) + 1)
	}
	code := C.lq_record(&d.calls, unsafe.Pointer(d.commands), C.uint64_t(handle64(d.layout)), C.uint64_t(handle64(d.queries)),
		queries, (*C.uint64_t)(unsafe.Pointer(&r.words[0])), C.size_t(len(r.words)))
	return check("record a step", vulkan.Result(code))
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
