package vk

/*
#include "native.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	vulkan "github.com/vulkan-go/vulkan"
)

// Commands is a command buffer. What has been recorded into it runs each time
// it is submitted, behind everything submitted before: its first command waits for
// all that went before and sees what that wrote, so consecutive submissions need
// nothing between them.
type Commands struct {
	device *Device
	handle vulkan.CommandBuffer
	fence  vulkan.Fence // signalled when the last submission has ended
	runs   bool         // a submission has not been waited for
	words  []uint64     // what is recorded; in checking mode only
}

// NewCommands makes an empty command buffer. Free it, or close the device.
func (d *Device) NewCommands() (*Commands, error) {
	buffers := make([]vulkan.CommandBuffer, 1)
	code := vulkan.AllocateCommandBuffers(d.handle, &vulkan.CommandBufferAllocateInfo{
		SType: vulkan.StructureTypeCommandBufferAllocateInfo, CommandPool: d.pool,
		Level: vulkan.CommandBufferLevelPrimary, CommandBufferCount: 1,
	}, buffers)
	if err := check("vkAllocateCommandBuffers", code); err != nil {
		return nil, err
	}
	c := &Commands{device: d, handle: buffers[0]}
	d.commands[c] = true
	return c, nil
}

// NewCommands makes an empty command buffer of the recorder's device.
func (r *Recorder) NewCommands() (*Commands, error) { return r.device.NewCommands() }

// Submit runs what is recorded, once the last submission has ended, and does
// not wait for it.
func (c *Commands) Submit() error {
	if err := c.Wait(); err != nil {
		return err
	}
	if err := c.ensureFence(); err != nil {
		return err
	}
	d := c.device
	code := C.lq_submit(&d.calls, unsafe.Pointer(d.handle), unsafe.Pointer(d.queue), unsafe.Pointer(c.handle), C.uint64_t(handle64(c.fence)))
	if err := c.check("submit a step", code); err != nil {
		return err
	}
	c.runs = true
	return nil
}

// Wait returns when the last submission has ended; at once where there is none.
func (c *Commands) Wait() error {
	if !c.runs {
		return nil
	}
	d := c.device
	code := C.lq_wait(&d.calls, unsafe.Pointer(d.handle), C.uint64_t(handle64(c.fence)))
	if err := c.check("wait for a step", code); err != nil {
		return err
	}
	c.runs = false
	return nil
}

func (c *Commands) check(call string, code C.int) error {
	if err := check(call, vulkan.Result(code)); err != nil {
		return fmt.Errorf("device %s: %w", c.device.Info.Name, err)
	}
	return nil
}

// ensureFence makes the fence at the first submission: a driver without its
// hardware can compile every kernel, but has no fences.
func (c *Commands) ensureFence() error {
	if c.fence != vulkan.NullFence {
		return nil
	}
	var err error
	c.fence, err = created("vkCreateFence", func(h *vulkan.Fence) vulkan.Result {
		return vulkan.CreateFence(c.device.handle, &vulkan.FenceCreateInfo{SType: vulkan.StructureTypeFenceCreateInfo}, nil, h)
	})
	return err
}

// Free gives the command buffer back once its last submission has ended, or
// will never end. One that was never submitted is left to its pool: a driver without
// its hardware cannot free it.
func (c *Commands) Free() {
	d := c.device
	delete(d.commands, c)
	if c.fence == vulkan.NullFence {
		return
	}
	_ = c.Wait() // a device that is lost has said so before
	vulkan.FreeCommandBuffers(d.handle, d.pool, 1, []vulkan.CommandBuffer{c.handle})
	vulkan.DestroyFence(d.handle, c.fence, nil)
}
