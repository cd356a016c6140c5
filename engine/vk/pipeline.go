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

// Pipeline is a compute shader ready to dispatch.
type Pipeline struct {
	Name   string
	handle vulkan.Pipeline
}

// Constant is a specialization constant: its id in the shader and its value.
// It mirrors lq_constant.
type Constant struct {
	ID    uint32
	Value uint32
}

// NewPipeline compiles a SPIR-V module whose entry point is main. The
// pipeline lives until the device is closed. Unlike the device's other methods it
// may be called from several goroutines at a time.
func (d *Device) NewPipeline(name string, spirv []byte, constants []Constant) (*Pipeline, error) {
	if len(spirv) == 0 || len(spirv)%4 != 0 {
		return nil, fmt.Errorf("compile kernel %s: SPIR-V of %d bytes", name, len(spirv))
	}
	if len(constants) > C.LQ_MAX_CONSTANTS {
		return nil, fmt.Errorf("BUG: kernel %s has %d constants", name, len(constants))
	}
	handle, err := created("vkCreateComputePipelines", func(h *vulkan.Pipeline) vulkan.Result {
		return vulkan.Result(C.lq_create_pipeline(d.instance.proc, unsafe.Pointer(d.instance.handle), unsafe.Pointer(d.handle),
			C.uint64_t(handle64(d.cache)), C.uint64_t(handle64(d.layout)),
			unsafe.Pointer(&spirv[0]), C.size_t(len(spirv)),
			(*C.lq_constant)(unsafe.Pointer(unsafe.SliceData(constants))), C.uint32_t(len(constants)),
			(*C.uint64_t)(unsafe.Pointer(h))))
	})
	if err != nil {
		return nil, fmt.Errorf("compile kernel %s: %w", name, err)
	}
	p := &Pipeline{Name: name, handle: handle}
	d.compiling.Lock()
	defer d.compiling.Unlock()
	d.pipes[p] = true
	return p, nil
}

func (p *Pipeline) destroy(d *Device) {
	vulkan.DestroyPipeline(d.handle, p.handle, nil)
	delete(d.pipes, p)
}

// Push returns the bytes of a push constant block. T is a struct of
// fixed-size fields laid out as the shader declares it (addresses first), of
// at most MaxPush bytes.
func Push[T any](block *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(block)), unsafe.Sizeof(*block))
}

// Bytes views a slice of fixed-size values as bytes, for copying to and from
// mapped memory.
func Bytes[T any](values []T) []byte {
	if len(values) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), len(values)*int(unsafe.Sizeof(values[0])))
}
