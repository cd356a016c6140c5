package engine

import (
	"fmt"
	"math"
	"unsafe"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
)

// Random fills X with nearly normal numbers. Number i depends on (Seed, i)
// alone.
type Random struct {
	X    vk.Range // [Count] in Type
	Type weights.DType

	Count int // a multiple of 4
	weights.Random
}

// draw records the making of a random tensor's numbers in a type.
func (k *Kernels) draw(rec *vk.Recorder, to vk.Range, t weights.Tensor, as weights.DType) error {
	return k.Random(rec, Random{X: to, Type: as, Count: t.Elements(), Random: *t.Random})
}

type randomPush struct {
	x           uint64
	count, seed uint32
	mean, step  float32
}

const _ = vk.MaxPush - unsafe.Sizeof(randomPush{})

// bytesDeviation is the standard deviation of the sum of eight uniform bytes.
var bytesDeviation = math.Sqrt(8 * 65535.0 / 12)

// Random records the op.
func (k *Kernels) Random(rec *vk.Recorder, r Random) error {
	if r.Count > math.MaxInt32 {
		return fmt.Errorf("BUG: random: %d numbers", r.Count)
	}
	if err := firstError(quads("random", r.Count), require("random", field{"X", r.X, r.Count * r.Type.Size()})); err != nil {
		return err
	}
	wg := k.Tuning.MapWorkgroup
	p, err := k.pipeline("random-"+storageName(r.Type), wg)
	if err != nil {
		return err
	}
	push := randomPush{
		x: r.X.Address, count: uint32(r.Count), seed: r.Seed,
		mean: r.Mean, step: float32(float64(r.Deviation) / bytesDeviation),
	}
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push), Groups: grid(ceil(r.Count, 4*int(wg))),
		Writes: []vk.Range{r.X}, Work: vk.Work{Bytes: float64(r.Count * r.Type.Size())},
	})
	return nil
}
