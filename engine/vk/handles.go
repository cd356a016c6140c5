package vk

/*
#include <stdlib.h>
#include <stdint.h>
typedef struct { uint32_t type; void *next; uint32_t flags, mask; } allocate_flags;
*/
import "C"

import (
	"unsafe"

	vulkan "github.com/vulkan-go/vulkan"
)

// handle64 is a non-dispatchable handle as the 64 bits Vulkan passes.
func handle64[T any](handle T) uint64 {
	return *(*uint64)(unsafe.Pointer(&handle))
}

// created calls a Vulkan create function with room for the handle that is its
// own Go object: cgo refuses a pointer into an object that holds Go pointers.
func created[T any](call string, create func(*T) vulkan.Result) (T, error) {
	var handle T
	err := check(call, create(&handle))
	return handle, err
}

// allocateFlags is a VkMemoryAllocateFlagsInfo in C memory, as a pNext chain
// must be.
type allocateFlags struct{ pointer unsafe.Pointer }

func newAllocateFlags(flags uint32) allocateFlags {
	const structureType = 1000060000
	p := (*C.allocate_flags)(C.calloc(1, C.sizeof_allocate_flags))
	p._type, p.flags = structureType, C.uint32_t(flags)
	return allocateFlags{unsafe.Pointer(p)}
}

func (a allocateFlags) free() { C.free(a.pointer) }
