package vk

/*
#include "native.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	vulkan "github.com/vulkan-go/vulkan"
)

// MaxPush is the largest push constant block in bytes: Vulkan's portable minimum.
const MaxPush = 128

// Device is an open device with one compute queue. Its methods are not safe
// for concurrent use.
type Device struct {
	Info Info

	instance *Instance
	handle   vulkan.Device
	calls    C.lq_calls
	queue    vulkan.Queue
	layout   vulkan.PipelineLayout
	cache    vulkan.PipelineCache
	caching  cacheFile
	pool     vulkan.CommandPool
	commands map[*Commands]bool
	own      *Commands // of Recorder.Run
	queries  vulkan.QueryPool
	memory   *memory
	pipes    map[*Pipeline]bool

	compiling sync.Mutex // guards pipes
	undo      []func()   // what Close runs, last first
}

// OpenDevice opens a device for compute. Close must be called before the
// instance is closed.
func (in *Instance) OpenDevice(info Info) (*Device, error) {
	if err := info.Baseline(); err != nil {
		return nil, err
	}
	d := &Device{Info: info, instance: in, pipes: map[*Pipeline]bool{}, commands: map[*Commands]bool{}}
	if err := d.open(); err != nil {
		d.destroy()
		return nil, fmt.Errorf("open device %s: %w", info.Name, err)
	}
	d.memory = newMemory(d)
	return d, nil
}

func (d *Device) open() error {
	found := C.lq_compute_family(d.instance.proc, unsafe.Pointer(d.instance.handle), unsafe.Pointer(d.Info.handle))
	if found < 0 {
		return errors.New("has no compute queue")
	}
	family := uint32(found)
	for _, step := range []func() error{
		func() error { return d.create(family) },
		d.createLayout, d.createCache,
		func() error { return d.createCommands(family) },
		d.createQueries,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) create(family uint32) error {
	in := d.instance
	var err error
	d.handle, err = created("vkCreateDevice", func(h *vulkan.Device) vulkan.Result {
		return vulkan.Result(C.lq_create_device(in.proc, unsafe.Pointer(in.handle), unsafe.Pointer(d.Info.handle),
			C.uint32_t(family), &d.Info.abilities, (*unsafe.Pointer)(unsafe.Pointer(h))))
	})
	if err != nil {
		return err
	}
	d.undo = append(d.undo, func() { vulkan.DestroyDevice(d.handle, nil) })
	if missing := C.lq_load_calls(in.proc, unsafe.Pointer(in.handle), unsafe.Pointer(d.handle), &d.calls); missing != nil {
		return fmt.Errorf("the driver lacks %s", C.GoString(missing))
	}
	d.queue, err = created("vkGetDeviceQueue", func(q *vulkan.Queue) vulkan.Result {
		vulkan.GetDeviceQueue(d.handle, family, 0, q)
		return vulkan.Success
	})
	return err
}

// createLayout makes the one layout of all pipelines: push constants, no sets.
func (d *Device) createLayout() error {
	var err error
	d.layout, err = created("vkCreatePipelineLayout", func(h *vulkan.PipelineLayout) vulkan.Result {
		return vulkan.Result(C.lq_create_layout(d.instance.proc, unsafe.Pointer(d.instance.handle), unsafe.Pointer(d.handle),
			MaxPush, (*C.uint64_t)(unsafe.Pointer(h))))
	})
	if err != nil {
		return err
	}
	d.undo = append(d.undo, func() { vulkan.DestroyPipelineLayout(d.handle, d.layout, nil) })
	return nil
}

func (d *Device) createCommands(family uint32) error {
	info := vulkan.CommandPoolCreateInfo{
		SType: vulkan.StructureTypeCommandPoolCreateInfo, QueueFamilyIndex: family,
		Flags: vulkan.CommandPoolCreateFlags(vulkan.CommandPoolCreateResetCommandBufferBit),
	}
	var err error
	d.pool, err = created("vkCreateCommandPool", func(h *vulkan.CommandPool) vulkan.Result {
		return vulkan.CreateCommandPool(d.handle, &info, nil, h)
	})
	if err != nil {
		return err
	}
	d.undo = append(d.undo, func() { vulkan.DestroyCommandPool(d.handle, d.pool, nil) })
	d.own, err = d.NewCommands()
	return err
}

// maxQueries bounds the timestamps of one profiled step.
const maxQueries = 4096

func (d *Device) createQueries() error {
	info := vulkan.QueryPoolCreateInfo{
		SType: vulkan.StructureTypeQueryPoolCreateInfo, QueryType: vulkan.QueryTypeTimestamp, QueryCount: maxQueries,
	}
	var err error
	d.queries, err = created("vkCreateQueryPool", func(h *vulkan.QueryPool) vulkan.Result {
		return vulkan.CreateQueryPool(d.handle, &info, nil, h)
	})
	if err != nil {
		return err
	}
	d.undo = append(d.undo, func() { vulkan.DestroyQueryPool(d.handle, d.queries, nil) })
	return nil
}

// Close waits for what was submitted, writes the pipeline cache and destroys
// everything. It returns an error where buffers are still allocated (they are
// freed all the same) or the cache could not be written.
func (d *Device) Close() error {
	for c := range d.commands {
		c.Free()
	}
	var leaked error
	if n := d.Buffers(); n > 0 {
		leaked = fmt.Errorf("close device: %d buffers of %d bytes still allocated", n, d.memory.used)
	}
	saved := d.KeepPipelines()
	for p := range d.pipes {
		p.destroy(d)
	}
	d.memory.destroy()
	d.destroy()
	return errors.Join(leaked, saved)
}

func (d *Device) destroy() {
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i]()
	}
	d.undo = nil
}
