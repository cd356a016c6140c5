package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// slotEntry mirrors Slot in smlm.glsl: one adapter in one module.
type slotEntry struct {
	a, b, gain uint64
	da, db     uint64 // gradients, in a job's slot
	rank       uint32
	scale      float32
}

// slotBytes is the size of a Slot in smlm.glsl.
const slotBytes = 48

// slotTable is the table that tells the kernels where each slot's adapter
// lies: one row for each (layer, module), one entry in it for each slot. The
// host keeps a copy; changes are written between steps.
type slotTable struct {
	slots   int
	entries []slotEntry
	buffer  vk.Buffer
}

func newSlotTable(device *vk.Device, layers, slots int) (*slotTable, error) {
	t := &slotTable{slots: slots, entries: make([]slotEntry, layers*Modules*slots)}
	var err error
	if t.buffer, err = device.Alloc(vk.Local, uint64(len(t.entries)*slotBytes)); err != nil {
		return nil, fmt.Errorf("slot table: %w", err)
	}
	return t, t.write(device)
}

// index is the place of a (layer, module, slot).
func (t *slotTable) index(layer int, m Module, slot int) int {
	return (layer*Modules+int(m))*t.slots + slot
}

// row is the address of a module's row.
func (t *slotTable) row(layer int, m Module) uint64 {
	return t.buffer.Address + uint64(t.index(layer, m, 0)*slotBytes)
}

// clear takes an adapter out of every module.
func (t *slotTable) clear(slot int) {
	for i := slot; i < len(t.entries); i += t.slots {
		t.entries[i] = slotEntry{}
	}
}

// adapter is what a slot's adapter says in the rows that it changes.
func (t *slotTable) adapter(slot int) map[int]slotEntry {
	entries := map[int]slotEntry{}
	for i := slot; i < len(t.entries); i += t.slots {
		if t.entries[i].a != 0 {
			entries[i/t.slots] = t.entries[i]
		}
	}
	return entries
}

// put writes an adapter's entries for a slot, moved from an address to memory.
func (t *slotTable) put(slot int, entries map[int]slotEntry, from uint64, memory vk.Buffer) {
	for row, entry := range entries {
		t.entries[row*t.slots+slot] = entry.moved(from, memory.Address)
	}
}

// moved is an entry of the same adapter at another address, served only.
func (s slotEntry) moved(from, to uint64) slotEntry {
	s.a, s.b = s.a-from+to, s.b-from+to
	if s.gain != 0 {
		s.gain = s.gain - from + to
	}
	s.da, s.db = 0, 0
	return s
}

func (t *slotTable) write(device *vk.Device) error {
	data := vk.Bytes(t.entries)
	return device.Write(t.buffer, 0, t.buffer.Size, func(dst []byte, at uint64) error {
		copy(dst, data[at:])
		return nil
	})
}
