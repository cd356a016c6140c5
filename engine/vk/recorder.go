package vk

/*
#include "native.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
)

// Recorder collects the commands of one step. Every operation declares the
// memory it reads and writes; a barrier is placed exactly where an operation
// conflicts with one since the last barrier, so independent operations run
// side by side.
//
// The list is flat, so that one call replays it: a word with the operation in
// its lower and the number of payload words in its upper half, then the payload.
type Recorder struct {
	device *Device
	words  []uint64
	since  []access // accesses since the last barrier
	stats  Stats
	names  []string   // of the timestamped operations
	work   []Work     // beside names
	ops    []recorded // in checking mode only
	err    error
	timed  bool
}

// Stats counts what a step was recorded as.
type Stats struct {
	Dispatches, Barriers, Copies int
	Work                         Work // of the dispatches
}

// Add adds the counts of another part of the step.
func (s *Stats) Add(other Stats) {
	s.Dispatches += other.Dispatches
	s.Barriers += other.Barriers
	s.Copies += other.Copies
	s.Work.Add(other.Work)
}

// Work is what operations move and compute, for the profile.
type Work struct{ Bytes, Flops float64 }

// Add adds another operation's work.
func (w *Work) Add(other Work) {
	w.Bytes += other.Bytes
	w.Flops += other.Flops
}

type recorded struct {
	name     string
	barrier  bool
	accesses []access
}

type access struct {
	Range
	write bool
}

func (a access) String() string {
	verb := "read"
	if a.write {
		verb = "write"
	}
	return fmt.Sprintf("%s of %d bytes at %#x", verb, a.Size, a.Address)
}

func (a access) conflicts(b access) bool {
	return (a.write || b.write) && a.Address < b.Address+b.Size && b.Address < a.Address+a.Size
}

// NewRecorder starts an empty step. With timed, every dispatch is stamped.
func (d *Device) NewRecorder(timed bool) *Recorder { return &Recorder{device: d, timed: timed} }

// Reset empties the recorder, keeping its storage.
func (r *Recorder) Reset() {
	*r = Recorder{device: r.device, timed: r.timed, words: r.words[:0], since: r.since[:0], names: r.names[:0], work: r.work[:0], ops: r.ops[:0]}
}

// Stats of the commands recorded so far.
func (r *Recorder) Stats() Stats { return r.stats }

// Flops is the arithmetic of the dispatches recorded so far.
func (r *Recorder) Flops() float64 { return r.stats.Work.Flops }

// Dispatch is one kernel call.
type Dispatch struct {
	Pipeline *Pipeline
	Groups   [3]uint32 // workgroups; a zero makes the dispatch empty
	Push     []byte
	Reads    []Range
	Writes   []Range
	Work     Work
}

// maxGroups is the number of workgroups in a dimension every device takes.
const maxGroups = 65535

// Dispatch records a kernel call. Its errors are kept and returned by Run.
func (r *Recorder) Dispatch(d Dispatch) {
	if d.Groups[0] == 0 || d.Groups[1] == 0 || d.Groups[2] == 0 {
		return
	}
	if len(d.Push) > MaxPush || len(d.Push)%4 != 0 {
		r.fail(fmt.Errorf("BUG: %s: %d bytes of push constants", d.Pipeline.Name, len(d.Push)))
		return
	}
	if d.Groups[0] > maxGroups || d.Groups[1] > maxGroups || d.Groups[2] > maxGroups {
		r.fail(fmt.Errorf("%s: %v workgroups, but a dimension takes %d", d.Pipeline.Name, d.Groups, maxGroups))
		return
	}
	r.order(d.Pipeline.Name, d.Reads, d.Writes)
	r.emit(C.LQ_BIND, handle64(d.Pipeline.handle))
	r.push(d.Push)
	r.emit(C.LQ_DISPATCH, uint64(d.Groups[0]), uint64(d.Groups[1]), uint64(d.Groups[2]))
	r.stats.Dispatches++
	r.stats.Work.Add(d.Work)
	r.stamp(d.Pipeline.Name, d.Work)
}

func (r *Recorder) push(block []byte) {
	if len(block) == 0 {
		return
	}
	words := make([]uint64, 1, 1+MaxPush/8)
	words[0] = uint64(len(block))
	for len(block) >= 8 {
		words = append(words, binary.NativeEndian.Uint64(block))
		block = block[8:]
	}
	if len(block) == 4 {
		words = append(words, uint64(binary.NativeEndian.Uint32(block)))
	}
	r.emit(C.LQ_PUSH, words...)
}

// Copy records a copy of size bytes between buffers.
func (r *Recorder) Copy(dst Buffer, dstOffset uint64, src Buffer, srcOffset, size uint64) {
	if size == 0 {
		return
	}
	r.order("copy", []Range{src.Span(srcOffset, size)}, []Range{dst.Span(dstOffset, size)})
	r.emit(C.LQ_COPY, handle64(src.block.buffer), handle64(dst.block.buffer),
		src.offset+srcOffset, dst.offset+dstOffset, size)
	r.stats.Copies++
	r.stamp("copy", Work{Bytes: 2 * float64(size)})
}

// Fill records filling a buffer with a repeated word. Only whole words are
// filled.
func (r *Recorder) Fill(dst Buffer, word uint32) {
	r.order("fill", nil, []Range{dst.All()})
	r.emit(C.LQ_FILL, handle64(dst.block.buffer), dst.offset, dst.Size&^3, uint64(word))
	r.stats.Copies++
	r.stamp("fill", Work{Bytes: float64(dst.Size)})
}

func (r *Recorder) emit(op uint64, payload ...uint64) {
	r.words = append(r.words, op|uint64(len(payload))<<32)
	r.words = append(r.words, payload...)
}

func (r *Recorder) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// order places a barrier where the new accesses conflict with earlier ones.
func (r *Recorder) order(name string, reads, writes []Range) {
	needed := r.conflict(reads, false) || r.conflict(writes, true)
	if needed {
		r.emit(C.LQ_BARRIER)
		r.stats.Barriers++
		r.since = r.since[:0]
	}
	start := len(r.since)
	for _, a := range reads {
		r.since = append(r.since, access{a, false})
	}
	for _, a := range writes {
		r.since = append(r.since, access{a, true})
	}
	if checking() {
		r.ops = append(r.ops, recorded{name, needed, append([]access(nil), r.since[start:]...)})
	}
}

func (r *Recorder) conflict(ranges []Range, write bool) bool {
	for _, a := range ranges {
		for _, b := range r.since {
			if (access{a, write}).conflicts(b) {
				return true
			}
		}
	}
	return false
}

// stamp writes a timestamp once everything before it has ended.
func (r *Recorder) stamp(name string, work Work) {
	if !r.timed || len(r.names)+2 > maxQueries {
		return
	}
	if len(r.names) == 0 {
		r.words = append([]uint64{C.LQ_STAMP | 1<<32, 0}, r.words...)
	}
	r.names = append(r.names, name)
	r.work = append(r.work, work)
	r.emit(C.LQ_STAMP, uint64(len(r.names)))
}
