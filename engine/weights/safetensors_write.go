package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// headerAlign is what the header is padded to a multiple of, so that the
// tensors begin where 8-byte elements may lie.
const headerAlign = 8

// WriteTensors writes one safetensors file: byte for byte what the format's own
// implementation writes for the same tensors and at most one entry of metadata
// (more come sorted). The tensors lie by size of their elements, the largest
// first, then by name; their File does not matter. It is an error, before
// anything is written, if ReadTensors could not read the tensors back: a name
// twice or too long, data that is not what the shape needs, too many of them.
// An error of w is returned with the tensor that was being written.
func WriteTensors(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	ordered := fileOrder(tensors)
	header, err := encodeHeader(ordered, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return fmt.Errorf("write the header of a safetensors file: %w", err)
	}
	for _, t := range ordered {
		if _, err := w.Write(t.Data); err != nil {
			return fmt.Errorf("write tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

// fileOrder sorts by alignment, so that no tensor needs padding, then by name.
// Among types of one size the format puts BF16 before F16.
func fileOrder(tensors []Tensor) []Tensor {
	return slices.SortedStableFunc(slices.Values(tensors), func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(b.DType, a.DType), cmp.Compare(a.Name, b.Name))
	})
}

// encodeHeader is the header's length, the header, and its padding.
func encodeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	if len(tensors) > maxTensors {
		return nil, fmt.Errorf("%d tensors, at most %d are written", len(tensors), maxTensors)
	}
	out := bytes.NewBuffer(make([]byte, headerAlign)) // the length, filled in at the end
	out.WriteByte('{')
	if len(metadata) > 0 {
		if err := writeField(out, "__metadata__", metadata); err != nil {
			return nil, err
		}
	}
	if err := encodeEntries(out, tensors); err != nil {
		return nil, err
	}
	out.WriteByte('}')
	for out.Len()%headerAlign != 0 {
		out.WriteByte(' ')
	}
	length := out.Len() - headerAlign
	if length > maxHeader {
		return nil, fmt.Errorf("the header of a safetensors file has %d bytes, at most %d are written", length, maxHeader)
	}
	binary.LittleEndian.PutUint64(out.Bytes(), uint64(length))
	return out.Bytes(), nil
}

// encodeEntries places the tensors one after another.
func encodeEntries(out *bytes.Buffer, tensors []Tensor) error {
	seen, at := map[string]bool{}, 0
	for _, t := range tensors {
		if seen[t.Name] {
			return fmt.Errorf("tensor %s is to be written twice", quote(t.Name))
		}
		seen[t.Name] = true
		if err := t.checkWritable(); err != nil {
			return err
		}
		entry := struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}{t.DType.String(), append([]int{}, t.Shape...), [2]int{at, at + len(t.Data)}} // a scalar's shape is [], not null
		if err := writeField(out, t.Name, entry); err != nil {
			return err
		}
		at += len(t.Data)
	}
	return nil
}

// checkWritable refuses what ReadTensors would refuse or give back otherwise.
func (t Tensor) checkWritable() error {
	switch {
	case t.Name == "__metadata__" || !utf8.ValidString(t.Name):
		return fmt.Errorf("a tensor cannot have the name %s", quote(t.Name))
	case len(t.Name) > maxName:
		return fmt.Errorf("the name of tensor %s has %d bytes, at most %d are allowed", quote(t.Name), len(t.Name), maxName)
	case t.DType.Size() == 0:
		return fmt.Errorf("tensor %q has no dtype, supported are %s", t.Name, supported)
	case len(t.Shape) > maxDims:
		return fmt.Errorf("tensor %q has %d dimensions, at most %d are allowed", t.Name, len(t.Shape), maxDims)
	}
	need, err := t.size()
	if err == nil && need != int64(len(t.Data)) {
		err = fmt.Errorf("tensor %q: shape %v of %v needs %d bytes, its data has %d", t.Name, t.Shape, t.DType, need, len(t.Data))
	}
	return err
}

// writeField adds a field to the JSON object that out holds the beginning of.
func writeField(out *bytes.Buffer, name string, value any) error {
	if out.Bytes()[out.Len()-1] != '{' {
		out.WriteByte(',')
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for i, v := range []any{name, value} {
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("encode %s: %w", quote(name), err)
		}
		out.Truncate(out.Len() - 1) // the newline after a value
		if i == 0 {
			out.WriteByte(':')
		}
	}
	return nil
}
