package vk

/*
#include "native.h"
*/
import "C"

import (
	"fmt"

	vulkan "github.com/vulkan-go/vulkan"
)

// Type is the kind of a physical device.
type Type uint8

// Kinds of devices.
const (
	Other Type = iota
	Integrated
	Discrete
	Virtual
	CPU
)

func (t Type) String() string {
	return [...]string{"other", "integrated", "discrete", "virtual", "cpu"}[t]
}

// rank orders devices by how likely they are to be the fastest.
func (t Type) rank() int { return [...]int{4, 2, 1, 3, 5}[t] }

// Shape is that of cooperative matrices: A is [M, K], B [K, N].
type Shape struct{ M, N, K int }

func newShape(s C.lq_shape) Shape { return Shape{int(s.m), int(s.n), int(s.k)} }

// Info describes a physical device.
type Info struct {
	Index      int
	Name       string
	Vendor     string
	Type       Type
	Driver     string // name and version as the driver tells them
	APIVersion uint32

	Memory        uint64 // bytes of device-local memory
	FreeMemory    uint64 // bytes of it that the driver says are free; Memory where it does not tell
	MaxAllocation uint64 // bytes of the largest single allocation

	SubgroupSize       int
	SubgroupArithmetic bool
	SubgroupShuffle    bool
	MaxWorkgroup       int // invocations
	SharedMemory       int // bytes per workgroup
	TimestampPeriod    float64

	BufferDeviceAddress bool
	Float16             bool
	Storage16           bool
	CooperativeMatrix2  bool
	BFloat16            bool
	MatrixF16           Shape // of a subgroup's cooperative matrices of float16, with float32 sums; zero where there are none
	MatrixBF16          Shape

	handle    vulkan.PhysicalDevice
	abilities C.lq_abilities
	cacheKey  string
}

// Baseline returns nil where the device can run Loquetier at all, or an error
// that names what it lacks.
func (d Info) Baseline() error {
	const v1_2 = 1<<22 | 2<<12
	if d.APIVersion < v1_2 {
		return fmt.Errorf("device %s: Vulkan %s, but 1.2 is needed", d.Name, d.Version())
	}
	if !d.BufferDeviceAddress {
		return fmt.Errorf("device %s: lacks the feature bufferDeviceAddress", d.Name)
	}
	return nil
}

// CacheKey tells devices apart, and drivers of which the one does not take what
// the other has compiled; it may be part of a file's name.
func (d Info) CacheKey() string { return d.cacheKey }

// Version is the device's Vulkan version, as in "1.3.250".
func (d Info) Version() string {
	return fmt.Sprintf("%d.%d.%d", d.APIVersion>>22&0x7f, d.APIVersion>>12&0x3ff, d.APIVersion&0xfff)
}

func newInfo(h vulkan.PhysicalDevice, a C.lq_abilities) Info {
	var p vulkan.PhysicalDeviceProperties
	vulkan.GetPhysicalDeviceProperties(h, &p)
	p.Deref()
	p.Limits.Deref()
	const arithmetic, shuffle = 0x4, 0x10
	d := Info{
		Name: vulkan.ToString(p.DeviceName[:]), Vendor: vendorName(p.VendorID), Type: deviceType(p.DeviceType),
		Driver:     C.GoString(&a.driver_name[0]) + " " + C.GoString(&a.driver_info[0]),
		APIVersion: p.ApiVersion, MaxAllocation: uint64(a.max_allocation),
		SubgroupSize:       int(a.subgroup_size),
		SubgroupArithmetic: a.subgroup_operations&arithmetic != 0,
		SubgroupShuffle:    a.subgroup_operations&shuffle != 0,
		MaxWorkgroup:       int(p.Limits.MaxComputeWorkGroupInvocations),
		SharedMemory:       int(p.Limits.MaxComputeSharedMemorySize),
		TimestampPeriod:    float64(p.Limits.TimestampPeriod),

		BufferDeviceAddress: a.features[C.LQ_ADDRESS][0] != 0,
		Float16:             a.features[C.LQ_FLOAT16][0] != 0,
		Storage16:           a.features[C.LQ_STORAGE16][0] != 0,
		CooperativeMatrix2:  matrices2(a),
		BFloat16:            a.features[C.LQ_BFLOAT16][0] != 0,
		handle:              h, abilities: a,
		cacheKey: fmt.Sprintf("%x-%x-%x", p.VendorID, p.DeviceID, p.PipelineCacheUUID),
	}
	// A kernel with cooperative matrices uses float16 arithmetic and the memory model's terms.
	if d.Float16 && a.features[C.LQ_MEMORY_MODEL][0] != 0 {
		d.MatrixF16, d.MatrixBF16 = newShape(a.matrix_f16), newShape(a.matrix_bf16)
	}
	d.Memory, d.FreeMemory = localMemory(h, a)
	return d
}

// matrices2 tells whether what our kernels use of NVIDIA's second matrix
// extension is there: of its features in their order workgroups' matrices, of any
// size, conversions, functions of elements, and loads by tensor layouts.
func matrices2(a C.lq_abilities) bool {
	for _, i := range []int{0, 1, 3, 4, 5} {
		if a.features[C.LQ_MATRIX2][i] == 0 {
			return false
		}
	}
	return true
}

// localMemory sums the device-local heaps.
func localMemory(h vulkan.PhysicalDevice, a C.lq_abilities) (size, free uint64) {
	var m vulkan.PhysicalDeviceMemoryProperties
	vulkan.GetPhysicalDeviceMemoryProperties(h, &m)
	m.Deref()
	for i := range m.MemoryHeapCount {
		heap := m.MemoryHeaps[i]
		heap.Deref()
		if heap.Flags&vulkan.MemoryHeapFlags(vulkan.MemoryHeapDeviceLocalBit) == 0 {
			continue
		}
		size += uint64(heap.Size)
		if b := uint64(a.heap_budget[i]); b > 0 {
			free += b
		} else {
			free += uint64(heap.Size)
		}
	}
	return size, free
}

func deviceType(t vulkan.PhysicalDeviceType) Type {
	switch t {
	case vulkan.PhysicalDeviceTypeIntegratedGpu:
		return Integrated
	case vulkan.PhysicalDeviceTypeDiscreteGpu:
		return Discrete
	case vulkan.PhysicalDeviceTypeVirtualGpu:
		return Virtual
	case vulkan.PhysicalDeviceTypeCpu:
		return CPU
	}
	return Other
}

func vendorName(id uint32) string {
	names := map[uint32]string{
		0x1002: "AMD", 0x10de: "NVIDIA", 0x8086: "Intel", 0x106b: "Apple", 0x13b5: "Arm",
		0x5143: "Qualcomm", 0x1010: "Imagination", 0x10005: "Mesa", 0x14e4: "Broadcom",
	}
	if n, ok := names[id]; ok {
		return n
	}
	return fmt.Sprintf("0x%04x", id)
}
