// Package vk is Loquetier's Vulkan runtime: the only package with cgo and
// unsafe. It opens devices, sub-allocates memory with device addresses, keeps
// compute pipelines, and records and submits whole steps.
package vk

/*
#cgo linux LDFLAGS: -ldl
#include "native.h"
*/
import "C"

import (
	"fmt"
	"strings"
	"sync"
	"unsafe"

	vulkan "github.com/vulkan-go/vulkan"
)

// Instance is a connection to the Vulkan loader.
type Instance struct {
	handle vulkan.Instance
	proc   unsafe.Pointer
}

// The binding keeps its entry points in C globals, so they are loaded once.
var loader = sync.OnceValues(func() (unsafe.Pointer, error) {
	proc := C.lq_open_library()
	if proc == nil {
		return nil, ErrNoLoader
	}
	vulkan.SetGetInstanceProcAddr(proc)
	if err := vulkan.Init(); err != nil {
		return nil, fmt.Errorf("%w (%v)", ErrNoLoader, err)
	}
	return proc, nil
})

// Open loads the Vulkan library and makes an instance. It returns ErrNoLoader
// where there is no library, and ErrNoDevice where it finds no driver.
func Open() (*Instance, error) {
	proc, err := loader()
	if err != nil {
		return nil, err
	}
	const version1_2 = 1<<22 | 2<<12
	app := vulkan.ApplicationInfo{
		SType: vulkan.StructureTypeApplicationInfo, PApplicationName: "loquetier\x00",
		PEngineName: "loquetier\x00", ApiVersion: version1_2,
	}
	in := &Instance{proc: proc}
	in.handle, err = created("vkCreateInstance", func(h *vulkan.Instance) vulkan.Result {
		return vulkan.CreateInstance(&vulkan.InstanceCreateInfo{
			SType: vulkan.StructureTypeInstanceCreateInfo, PApplicationInfo: &app,
		}, nil, h)
	})
	if err != nil {
		return nil, err
	}
	if err := vulkan.InitInstance(in.handle); err != nil {
		vulkan.DestroyInstance(in.handle, nil)
		return nil, fmt.Errorf("load Vulkan entry points: %w", err)
	}
	return in, nil
}

// Close destroys the instance; its devices must be closed before.
func (in *Instance) Close() { vulkan.DestroyInstance(in.handle, nil) }

// Devices lists the physical devices in the loader's order.
func (in *Instance) Devices() ([]Info, error) {
	var n uint32
	if err := check("vkEnumeratePhysicalDevices", vulkan.EnumeratePhysicalDevices(in.handle, &n, nil)); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, ErrNoDevice
	}
	handles := make([]vulkan.PhysicalDevice, n)
	if err := check("vkEnumeratePhysicalDevices", vulkan.EnumeratePhysicalDevices(in.handle, &n, handles)); err != nil {
		return nil, err
	}
	infos := make([]Info, n)
	for i, h := range handles {
		info, err := in.describe(h)
		if err != nil {
			return nil, fmt.Errorf("describe device %d: %w", i, err)
		}
		info.Index = i
		infos[i] = info
	}
	return infos, nil
}

func (in *Instance) describe(h vulkan.PhysicalDevice) (Info, error) {
	var a C.lq_abilities
	if C.lq_query(in.proc, unsafe.Pointer(in.handle), unsafe.Pointer(h), &a) != 0 {
		return Info{}, fmt.Errorf("the Vulkan loader is older than 1.1")
	}
	return newInfo(h, a), nil
}

// Select picks a device: "" the first discrete GPU, else integrated, virtual,
// software; "cpu" a software device; otherwise an index or part of a name.
func Select(infos []Info, want string) (Info, error) {
	switch {
	case want == "":
		best := infos[0]
		for _, d := range infos[1:] {
			if d.Type.rank() < best.Type.rank() {
				best = d
			}
		}
		return best, nil
	case strings.EqualFold(want, "cpu"):
		for _, d := range infos {
			if d.Type == CPU {
				return d, nil
			}
		}
		return Info{}, fmt.Errorf("device cpu: no software device among %s: install lavapipe (mesa-vulkan-drivers)", nameList(infos))
	}
	for _, d := range infos {
		if want == fmt.Sprint(d.Index) {
			return d, nil
		}
	}
	for _, d := range infos {
		if strings.Contains(strings.ToLower(d.Name), strings.ToLower(want)) {
			return d, nil
		}
	}
	return Info{}, fmt.Errorf("device %q: not among %s", want, nameList(infos))
}

func nameList(infos []Info) string {
	names := make([]string, len(infos))
	for i, d := range infos {
		names[i] = fmt.Sprintf("%d: %s", d.Index, d.Name)
	}
	return "[" + strings.Join(names, ", ") + "]"
}
