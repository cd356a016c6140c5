package shaders_test

import (
	"fmt"
	"testing"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/shaders/ref"
)

func TestGather(t *testing.T) {
	b := newBench(t, 61)
	for i, act := range types {
		for j, width := range []int{4, 60, 192} {
			from, list := 21, []int32{20}
			for range []int{0, 2, 12}[(i+j)%3] {
				list = append(list, b.Int32N(int32(from)))
			}
			x := b.normal(from*width, 1, act)
			y := b.blank(act.Size() * len(list) * width)
			g := engine.Gather{X: b.stored(x, act), List: b.integers(list), Y: y.Range, Rows: len(list), Width: width, Size: act.Size()}
			for _, tuning := range mapTunings(t) {
				b.dispatch(func(rec *vk.Recorder) error { return kernels(t, tuning, act, act).Gather(rec, g) }, y)
				requireExact(t, ref.Gather(x, width, list), y.numbers(b, act), fmt.Sprintf("%v, %d of %d, workgroup %d", act, len(list), width, tuning.MapWorkgroup))
			}
		}
	}
}
