package vk

import (
	"fmt"
	"runtime"
	"unsafe"

	vulkan "github.com/vulkan-go/vulkan"
)

// Pipeline is a compute shader ready to dispatch.
type Pipeline struct {
	Name   string
	handle vulkan.Pipeline
}

// Constant is a specialization constant: its id in the shader and its value.
type Constant struct {
	ID    uint32
	Value uint32
}

// NewPipeline compiles a SPIR-V module whose entry point is main. The
// pipeline lives until the device is closed.
func (d *Device) NewPipeline(name string, spirv []byte, constants []Constant) (*Pipeline, error) {
	module, err := d.shaderModule(spirv)
	if err != nil {
		return nil, fmt.Errorf("load kernel %s: %w", name, err)
	}
	defer vulkan.DestroyShaderModule(d.handle, module, nil)
	data, entries := specialization(constants)
	stage := vulkan.PipelineShaderStageCreateInfo{
		SType: vulkan.StructureTypePipelineShaderStageCreateInfo,
		Stage: vulkan.ShaderStageComputeBit, Module: module, PName: "main\x00",
	}
	if len(data) > 0 {
		stage.PSpecializationInfo = []vulkan.SpecializationInfo{{
			MapEntryCount: uint32(len(entries)), PMapEntries: entries,
			DataSize: uint(4 * len(data)), PData: unsafe.Pointer(&data[0]),
		}}
	}
	made := make([]vulkan.Pipeline, 1)
	code := vulkan.CreateComputePipelines(d.handle, d.cache, 1, []vulkan.ComputePipelineCreateInfo{{
		SType: vulkan.StructureTypeComputePipelineCreateInfo, Stage: stage, Layout: d.layout,
	}}, nil, made)
	runtime.KeepAlive(data)
	if err := check("vkCreateComputePipelines", code); err != nil {
		return nil, fmt.Errorf("compile kernel %s: %w", name, err)
	}
	p := &Pipeline{Name: name, handle: made[0]}
	d.pipes[p] = true
	return p, nil
}

func (d *Device) shaderModule(spirv []byte) (vulkan.ShaderModule, error) {
	if len(spirv) == 0 || len(spirv)%4 != 0 {
		return vulkan.NullShaderModule, fmt.Errorf("SPIR-V of %d bytes", len(spirv))
	}
	var module vulkan.ShaderModule
	code := vulkan.CreateShaderModule(d.handle, &vulkan.ShaderModuleCreateInfo{
		SType: vulkan.StructureTypeShaderModuleCreateInfo, CodeSize: uint(len(spirv)),
		PCode: unsafe.Slice((*uint32)(unsafe.Pointer(&spirv[0])), len(spirv)/4),
	}, nil, &module)
	runtime.KeepAlive(spirv)
	return module, check("vkCreateShaderModule", code)
}

func specialization(constants []Constant) ([]uint32, []vulkan.SpecializationMapEntry) {
	data := make([]uint32, len(constants))
	entries := make([]vulkan.SpecializationMapEntry, len(constants))
	for i, c := range constants {
		data[i] = c.Value
		entries[i] = vulkan.SpecializationMapEntry{ConstantID: c.ID, Offset: uint32(4 * i), Size: 4}
	}
	return data, entries
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
