package vk

import (
	"fmt"
	"os"
	"sync"
)

// checking tells whether the checking mode is on (LOQUETIER_CHECK=1): memory
// is poisoned when it is taken and given back, and every recorded step is
// verified before it is submitted.
var checking = sync.OnceValue(func() bool { return os.Getenv("LOQUETIER_CHECK") == "1" })

// Checking tells whether the checking mode is on.
func Checking() bool { return checking() }

// poison fills memory with a pattern that reads as NaN in f32, f16 and bf16
// and as an absurd index in integers.
func poison(memory []byte) {
	for i := range memory {
		memory[i] = 0xff
	}
}

// verify walks a recorded list from scratch, without the recorder's own
// bookkeeping: no two accesses between barriers may conflict, and every range
// must lie in a live buffer.
func (r *Recorder) verify() error {
	var since []access
	for i, op := range r.ops {
		if op.barrier {
			since = since[:0]
		}
		for _, a := range op.accesses {
			if !r.device.memory.contains(a.Range) {
				return fmt.Errorf("BUG: %s (operation %d): %s is outside every buffer", op.name, i, a)
			}
			for _, b := range since {
				if a.conflicts(b) {
					return fmt.Errorf("BUG: %s (operation %d): %s conflicts with %s without a barrier", op.name, i, a, b)
				}
			}
		}
		since = append(since, op.accesses...)
	}
	return nil
}

// contains tells whether a range lies in one block and touches no free span of it.
func (m *memory) contains(r Range) bool {
	for _, b := range m.blocks {
		if r.Address < b.address || r.Address+r.Size > b.address+b.size {
			continue
		}
		off := r.Address - b.address
		for _, s := range b.free {
			if off < s.offset+s.size && s.offset < off+r.Size {
				return false
			}
		}
		return true
	}
	return false
}
