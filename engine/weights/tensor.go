package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// A Tensor is a named array in a file: row-major, little-endian, contiguous.
type Tensor struct {
	Name   string
	DType  DType
	Shape  []int   // outermost dimension first; empty for a scalar
	Data   []byte  // a view into the file: read-only, valid until its Folder is closed
	Random *Random // instead of Data: what its numbers are to be made from; nil where there is Data
	File   string  // the file it comes from, for messages
}

// Elements is the number of elements: the product of Shape.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes is how many bytes the elements take in the tensor's type.
func (t Tensor) Bytes() int { return t.Elements() * t.DType.Size() }

// Float32s is a copy of the elements, converted to float32. The tensor has Data.
func (t Tensor) Float32s() []float32 {
	wide := make([]byte, t.Elements()*F32.Size())
	Convert(wide, F32, t.Data, t.DType)
	out := make([]float32, t.Elements())
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(wide[4*i:]))
	}
	return out
}

// CheckShape returns an error that names the tensor's file, the tensor and both
// shapes where the tensor does not have the shape that whose asks for.
func (t Tensor) CheckShape(want []int, whose string) error {
	if slices.Equal(t.Shape, want) {
		return nil
	}
	return fmt.Errorf("%s: tensor %q has shape %v, %s has %v", t.File, t.Name, t.Shape, whose, want)
}
