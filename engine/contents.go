package engine

import (
	"fmt"

	"loquetier/engine/weights"
)

// contents gives the bytes of a part of a buffer: it writes len(dst) of them,
// those from position at on. It touches the host's memory alone, so that it may be
// called while steps run.
type contents func(dst []byte, at uint64) error

// imageContents are bytes that are there as they are to be.
func imageContents(data []byte) contents {
	return func(dst []byte, at uint64) error {
		copy(dst, data[at:])
		return nil
	}
}

// convertedContents are float32 numbers as a type.
func convertedContents(numbers []byte, as weights.DType) contents {
	return func(dst []byte, at uint64) error {
		from := numbers[4*int(at)/as.Size():]
		weights.Convert(dst, as, from[:4*len(dst)/as.Size()], weights.F32)
		return nil
	}
}

// laid is a tensor in an adapter's memory.
type laid struct {
	weights.Tensor
	as    weights.DType
	at    uint64 // its first byte
	width int    // numbers from a row to the next, at least as many as a row has
}

// matrices are A and B of an adapter's modules in its memory, as a type.
func matrices(a Adapter, places []placement, as weights.DType) []laid {
	var all []laid
	size := uint64(as.Size())
	for i, m := range a.Modules {
		p := places[i]
		all = append(all, laid{m.A, as, p.a * size, m.A.Shape[1]}, laid{m.B, as, p.b * size, p.rank})
	}
	return all
}

// magnitudes are the vectors of a DoRA adapter in its memory, each as one row.
func magnitudes(a Adapter, places []placement) []laid {
	var all []laid
	for i, m := range a.Modules {
		if m.Magnitude != nil {
			t := *m.Magnitude
			t.Shape = []int{1, t.Elements()}
			all = append(all, laid{t, weights.F32, places[i].magnitude, t.Shape[1]})
		}
	}
	return all
}

// tensorContents are tensors, and zeros where none lies: what pads a rank.
func tensorContents(all []laid) contents {
	return func(dst []byte, at uint64) error {
		clear(dst)
		for _, l := range all {
			if err := l.write(dst, at); err != nil {
				return err
			}
		}
		return nil
	}
}

// write writes those of a tensor's numbers that lie in dst, which begins at a
// position of the memory.
func (l *laid) write(dst []byte, at uint64) error {
	stride, have, end := uint64(l.width*l.as.Size()), uint64(l.Shape[1]*l.as.Size()), at+uint64(len(dst))
	first := uint64(0)
	if at > l.at {
		first = (at - l.at) / stride
	}
	for row := first; row < uint64(l.Shape[0]); row++ {
		from := l.at + row*stride
		if from >= end {
			break
		}
		if err := l.writeRow(dst, at, int(row), from, have); err != nil {
			return err
		}
	}
	return nil
}

// writeRow writes the part of a row of so many bytes that lies in dst.
func (l *laid) writeRow(dst []byte, at uint64, row int, from, have uint64) error {
	end := at + uint64(len(dst))
	if from >= at && from+have <= end {
		return convertRow(dst[from-at:], l.as, l.Tensor, row)
	}
	if from+have <= at {
		return nil
	}
	whole := make([]byte, have)
	if err := convertRow(whole, l.as, l.Tensor, row); err != nil {
		return err
	}
	if from < at {
		copy(dst, whole[at-from:])
	} else {
		copy(dst[from-at:], whole)
	}
	return nil
}

// convertRow writes a row of a matrix as a type. It refuses what the type does
// not hold.
func convertRow(dst []byte, as weights.DType, t weights.Tensor, row int) error {
	have, from := t.Shape[1]*as.Size(), t.Shape[1]*t.DType.Size()
	weights.Convert(dst[:have], as, t.Data[row*from:(row+1)*from], t.DType)
	if as == weights.F16 && overflows(dst[:have]) {
		return fmt.Errorf("tensor %s of %s holds values beyond float16's range (65504): use --dtype bf16 or f32", t.Name, t.File)
	}
	return nil
}
