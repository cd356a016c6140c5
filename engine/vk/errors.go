package vk

import (
	"errors"
	"fmt"

	vulkan "github.com/vulkan-go/vulkan"
)

// Errors a caller tells apart.
var (
	ErrNoLoader    = errors.New("no Vulkan loader: libvulkan.so.1 (vulkan-1.dll, libvulkan.1.dylib) was not found: install the Vulkan runtime and a driver, or lavapipe for software rendering")
	ErrNoDevice    = errors.New("no Vulkan device: install a GPU driver with Vulkan, or lavapipe (mesa-vulkan-drivers) for software rendering")
	ErrOutOfMemory = errors.New("out of device memory")
	ErrDeviceLost  = errors.New("the device was lost")
)

// Result is a Vulkan result code that is not success, and the call that returned it.
type Result struct {
	Call string
	Code int32
}

func (r Result) Error() string {
	if cause := r.Unwrap(); cause != nil {
		return fmt.Sprintf("%v (%s returned %d)", cause, r.Call, r.Code)
	}
	if err := vulkan.Error(vulkan.Result(r.Code)); err != nil {
		return fmt.Sprintf("%s: %v (%d)", r.Call, err, r.Code)
	}
	return fmt.Sprintf("%s: result %d", r.Call, r.Code)
}

// Unwrap makes errors.Is find the sentinels above.
func (r Result) Unwrap() error {
	switch vulkan.Result(r.Code) {
	case vulkan.ErrorOutOfDeviceMemory, vulkan.ErrorOutOfHostMemory:
		return ErrOutOfMemory
	case vulkan.ErrorDeviceLost:
		return ErrDeviceLost
	case vulkan.ErrorIncompatibleDriver:
		return ErrNoDevice
	}
	return nil
}

func check(call string, code vulkan.Result) error {
	if code == vulkan.Success {
		return nil
	}
	return Result{Call: call, Code: int32(code)}
}
