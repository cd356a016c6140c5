package engine

import (
	"fmt"
	"math"
	"unsafe"

	"loquetier/engine/vk"
)

// Stream copies From to To, by a kernel.
type Stream struct {
	From, To vk.Range // [Count] float32, apart from each other

	Count int // a multiple of 4
}

type streamPush struct {
	from, to uint64
	count, _ uint32
}

const _ = vk.MaxPush - unsafe.Sizeof(streamPush{})

// Stream records the op.
func (k *Kernels) Stream(rec *vk.Recorder, s Stream) error {
	if s.Count > math.MaxInt32 {
		return fmt.Errorf("BUG: stream: %d numbers", s.Count)
	}
	if err := firstError(quads("stream", s.Count), require("stream",
		field{"From", s.From, 4 * s.Count}, field{"To", s.To, 4 * s.Count})); err != nil {
		return err
	}
	wg := k.Tuning.SampleWorkgroup
	p, err := k.pipeline("stream", wg)
	if err != nil {
		return err
	}
	push := streamPush{from: s.From.Address, to: s.To.Address, count: uint32(s.Count)}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(ceil(s.Count, 4*int(wg))),
		Reads: []vk.Range{s.From}, Writes: []vk.Range{s.To}, Work: vk.Work{Bytes: 8 * float64(s.Count)},
	})
	return nil
}
