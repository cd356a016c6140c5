package vk

/*
#include "native.h"
*/
import "C"

import (
	"fmt"
	"slices"
	"unsafe"

	vulkan "github.com/vulkan-go/vulkan"
)

// Kind tells what a buffer is for, and so which memory it comes from.
type Kind uint8

// Kinds of buffers. On devices whose memory the host reaches through its caches
// (software, most integrated ones) all three are mapped. A window onto a card's memory
// does not count: writes to it pass, but a read of a few bytes crosses the bus.
const (
	Local    Kind = iota // device memory: weights, activations, caches
	Upload               // host writes, device reads
	Download             // device writes, host reads
)

// Buffer is a range of device memory with a device address.
type Buffer struct {
	Address uint64
	Size    uint64
	Host    []byte // the same memory as the host sees it; nil where it is not mapped

	block  *block
	offset uint64
}

// Range is a span of device memory that an operation reads or writes.
type Range struct{ Address, Size uint64 }

// All is the whole buffer as a range.
func (b Buffer) All() Range { return Range{b.Address, b.Size} }

// Span is the part of the buffer from offset, size bytes long.
func (b Buffer) Span(offset, size uint64) Range {
	if offset+size > b.Size {
		panic(fmt.Sprintf("BUG: span %d+%d of a buffer of %d bytes", offset, size, b.Size))
	}
	return Range{b.Address + offset, size}
}

// From is the part of the buffer from offset to its end. It is freed with the whole.
func (b Buffer) From(offset uint64) Buffer {
	b.Size = b.Span(offset, b.Size-offset).Size
	b.Address += offset
	b.offset += offset
	if b.Host != nil {
		b.Host = b.Host[offset:]
	}
	return b
}

// alignment of every buffer: as large as any device asks for storage buffers.
const alignment = 256

// blockSize is what the driver is asked for at a time; larger buffers get
// their own allocation.
const blockSize = 64 << 20

// block is one driver allocation with one VkBuffer over the whole of it.
type block struct {
	kind    Kind
	size    uint64
	memory  vulkan.DeviceMemory
	buffer  vulkan.Buffer
	address uint64
	host    []byte
	free    []span // sorted by offset, never adjacent
}

type span struct{ offset, size uint64 }

func (b *block) empty() bool { return len(b.free) == 1 && b.free[0].size == b.size }

// memory sub-allocates buffers from blocks and accounts for them.
type memory struct {
	device *Device
	blocks []*block
	types  [3]uint32
	mapped [3]bool
	count  int
	used   uint64
	peak   uint64 // of used
	held   uint64 // bytes of driver allocations
}

func newMemory(d *Device) *memory {
	m := &memory{device: d}
	for _, k := range []Kind{Local, Upload, Download} {
		m.types[k], m.mapped[k] = chooseMemoryType(d.Info.handle, k)
	}
	return m
}

// chooseMemoryType scores the device's memory types for a kind. Type 0 always
// exists; Vulkan guarantees a host-visible coherent and a device-local type.
func chooseMemoryType(h vulkan.PhysicalDevice, k Kind) (index uint32, mapped bool) {
	const local, visible, coherent, cached = 1, 2, 4, 8
	const reached = visible | coherent | cached
	var m vulkan.PhysicalDeviceMemoryProperties
	vulkan.GetPhysicalDeviceMemoryProperties(h, &m)
	m.Deref()
	best := -1
	for i := range m.MemoryTypeCount {
		t := m.MemoryTypes[i]
		t.Deref()
		flags := uint32(t.PropertyFlags)
		heap := m.MemoryHeaps[t.HeapIndex]
		heap.Deref()
		score := 0
		switch {
		case flags&^uint32(local|visible|coherent|cached) != 0:
			continue // protected, lazily allocated or vendor-specific memory
		case k == Local && flags&local != 0:
			score = 1 + int(heap.Size>>28) // the large heap before a small window of it
			if flags&reached == reached {
				score++
			}
		case k != Local && flags&(visible|coherent) == visible|coherent:
			score = 1
			if flags&cached != 0 {
				score++
			}
		}
		if score > best && score > 0 {
			best, index, mapped = score, i, k != Local || flags&reached == reached
		}
	}
	return index, mapped
}

// Alloc takes a buffer of size bytes. It returns ErrOutOfMemory, with the
// numbers, where the device has no room. Contents are undefined (poisoned in
// checking mode).
func (d *Device) Alloc(kind Kind, size uint64) (Buffer, error) {
	if size == 0 || size > 1<<62 {
		return Buffer{}, fmt.Errorf("BUG: allocate a buffer of %d bytes", size)
	}
	m := d.memory
	want := (size + alignment - 1) / alignment * alignment
	for _, b := range m.blocks {
		if b.kind == kind {
			if off, ok := b.take(want); ok {
				return m.give(b, off, size), nil
			}
		}
	}
	b, err := m.grow(kind, max(want, blockSize), want)
	if err != nil {
		return Buffer{}, fmt.Errorf("allocate %d bytes (%d in use, device has %d): %w", size, m.used, d.Info.Memory, err)
	}
	off, _ := b.take(want)
	return m.give(b, off, size), nil
}

// Free gives a buffer back. Using it afterwards is a bug.
func (d *Device) Free(buf Buffer) {
	if buf.block == nil {
		return
	}
	m := d.memory
	want := (buf.Size + alignment - 1) / alignment * alignment
	m.count--
	m.used -= want
	if checking() {
		poison(buf.Host)
	}
	buf.block.put(span{buf.offset, want})
	if b := buf.block; b.empty() && !m.stays(b) {
		m.release(b)
	}
}

// stays tells whether an empty block is kept for what comes next: the only one of
// the host's. Staging comes and goes with every Write and Read, and the driver takes longer to pin a
// block of the host's memory than the copy takes.
func (m *memory) stays(b *block) bool {
	return b.kind != Local && b.size == blockSize && !slices.ContainsFunc(m.blocks, func(o *block) bool { return o != b && o.kind == b.kind })
}

// Unified tells whether Upload buffers lie in the device's own memory, as on
// software and integrated devices. Elsewhere kernels that read one many times
// want a Local copy of it.
func (d *Device) Unified() bool { return d.memory.types[Upload] == d.memory.types[Local] }

// Used is the number of bytes in buffers.
func (d *Device) Used() uint64 { return d.memory.used }

// Buffers is the number of buffers.
func (d *Device) Buffers() int { return d.memory.count }

// Peak is the most bytes that were in buffers at one time.
func (d *Device) Peak() uint64 { return d.memory.peak }

// ForgetPeak begins the peak anew, with what is in buffers now.
func (d *Device) ForgetPeak() { d.memory.peak = d.memory.used }

// Held is the number of bytes taken from the driver.
func (d *Device) Held() uint64 { return d.memory.held }

func (m *memory) give(b *block, off, size uint64) Buffer {
	m.count++
	m.used += (size + alignment - 1) / alignment * alignment
	m.peak = max(m.peak, m.used)
	buf := Buffer{Address: b.address + off, Size: size, block: b, offset: off}
	if b.host != nil {
		buf.Host = b.host[off : off+size : off+size]
	}
	if checking() {
		poison(buf.Host)
	}
	return buf
}

// grow makes a block of the wished size, or of the needed size where that fails.
func (m *memory) grow(kind Kind, wish, need uint64) (*block, error) {
	if limit := m.device.Info.MaxAllocation; need > limit {
		return nil, fmt.Errorf("%w: the driver's largest allocation is %d bytes", ErrOutOfMemory, limit)
	}
	b, err := m.newBlock(kind, min(wish, m.device.Info.MaxAllocation/alignment*alignment))
	if err != nil && need < wish {
		b, err = m.newBlock(kind, need)
	}
	if err != nil {
		return nil, err
	}
	m.blocks = append(m.blocks, b)
	m.held += b.size
	return b, nil
}

func (m *memory) newBlock(kind Kind, size uint64) (b *block, err error) {
	b = &block{kind: kind, size: size, free: []span{{0, size}}}
	h := m.device.handle
	defer func() {
		if err != nil {
			b.destroy(h)
		}
	}()
	const deviceAddressUsage, deviceAddressMemory = 0x20000, 2
	usage := vulkan.BufferUsageStorageBufferBit | vulkan.BufferUsageTransferSrcBit | vulkan.BufferUsageTransferDstBit
	b.buffer, err = created("vkCreateBuffer", func(out *vulkan.Buffer) vulkan.Result {
		return vulkan.CreateBuffer(h, &vulkan.BufferCreateInfo{
			SType: vulkan.StructureTypeBufferCreateInfo, Size: vulkan.DeviceSize(size),
			Usage: vulkan.BufferUsageFlags(usage) | deviceAddressUsage, SharingMode: vulkan.SharingModeExclusive,
		}, nil, out)
	})
	if err != nil {
		return b, err
	}
	flags := newAllocateFlags(deviceAddressMemory)
	defer flags.free()
	b.memory, err = created("vkAllocateMemory", func(out *vulkan.DeviceMemory) vulkan.Result {
		return vulkan.AllocateMemory(h, &vulkan.MemoryAllocateInfo{
			SType: vulkan.StructureTypeMemoryAllocateInfo, PNext: flags.pointer,
			AllocationSize: vulkan.DeviceSize(size), MemoryTypeIndex: m.types[kind],
		}, nil, out)
	})
	if err != nil {
		return b, err
	}
	if err := check("vkBindBufferMemory", vulkan.BindBufferMemory(h, b.buffer, b.memory, 0)); err != nil {
		return b, err
	}
	b.address = uint64(C.lq_buffer_address(&m.device.calls, unsafe.Pointer(h), C.uint64_t(handle64(b.buffer))))
	if !m.mapped[kind] {
		return b, nil
	}
	var p unsafe.Pointer
	if err := check("vkMapMemory", vulkan.MapMemory(h, b.memory, 0, vulkan.DeviceSize(size), 0, &p)); err != nil {
		return b, err
	}
	b.host = unsafe.Slice((*byte)(p), size)
	return b, nil
}

func (b *block) destroy(h vulkan.Device) {
	if b.buffer != vulkan.NullBuffer {
		vulkan.DestroyBuffer(h, b.buffer, nil)
	}
	if b.memory != vulkan.NullDeviceMemory {
		vulkan.FreeMemory(h, b.memory, nil)
	}
}

func (m *memory) release(b *block) {
	b.destroy(m.device.handle)
	m.held -= b.size
	m.blocks = slices.DeleteFunc(m.blocks, func(x *block) bool { return x == b })
}

func (m *memory) destroy() {
	for _, b := range m.blocks {
		b.destroy(m.device.handle)
	}
	m.blocks = nil
}

// take finds the first free span that is large enough.
func (b *block) take(size uint64) (offset uint64, ok bool) {
	for i, s := range b.free {
		if s.size < size {
			continue
		}
		if s.size == size {
			b.free = slices.Delete(b.free, i, i+1)
		} else {
			b.free[i] = span{s.offset + size, s.size - size}
		}
		return s.offset, true
	}
	return 0, false
}

// put returns a span and joins it with its neighbours.
func (b *block) put(s span) {
	i, _ := slices.BinarySearchFunc(b.free, s, func(a, b span) int { return int(int64(a.offset) - int64(b.offset)) })
	b.free = slices.Insert(b.free, i, s)
	if i+1 < len(b.free) && b.free[i].offset+b.free[i].size == b.free[i+1].offset {
		b.free[i].size += b.free[i+1].size
		b.free = slices.Delete(b.free, i+1, i+2)
	}
	if i > 0 && b.free[i-1].offset+b.free[i-1].size == b.free[i].offset {
		b.free[i-1].size += b.free[i].size
		b.free = slices.Delete(b.free, i, i+1)
	}
}
