package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// A safetensors file is the length of its header (8 bytes, little-endian), the
// header (a JSON object from tensor names to type, shape and position), and the
// tensors' bytes without gaps. See the format's description at
// https://huggingface.co/docs/safetensors. The parser is our own because the
// errors of the library for it name neither file nor numbers, and because one
// tensor of a type it does not know makes it refuse the whole file.

const (
	maxHeader  = 100_000_000 // bytes, as in the format's own implementation
	maxTensors = 1 << 20
	maxName    = 1024 // bytes
	maxDims    = 8
)

// A stored tensor is one in a file: of any type, so that a type that is not
// supported matters only where the tensor is needed.
type stored struct {
	Tensor
	begin, end int64  // offsets of its bytes after the header
	dtype      string // the name of its type in the header
}

// tensor is the tensor, or an error where its type is not supported.
func (s stored) tensor() (Tensor, error) {
	if s.DType == 0 {
		return Tensor{}, fmt.Errorf("%s: tensor %q has dtype %s, supported are %s", s.File, s.Name, quote(s.dtype), supported)
	}
	return s.Tensor, nil
}

// ReadTensors maps one safetensors file and returns its tensors, sorted by name.
// It is an error if any has an unsupported type.
func ReadTensors(folder Folder, file string) ([]Tensor, error) {
	all, err := readSafetensors(folder, file)
	if err != nil {
		return nil, err
	}
	tensors := make([]Tensor, len(all))
	for i, s := range all {
		if tensors[i], err = s.tensor(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(tensors, func(a, b Tensor) int { return cmp.Compare(a.Name, b.Name) })
	return tensors, nil
}

func readSafetensors(folder Folder, file string) ([]stored, error) {
	data, err := folder.Map(file)
	if err != nil {
		return nil, err
	}
	all, err := parseSafetensors(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder.Path(file), err)
	}
	for i := range all {
		all[i].File = folder.Path(file)
	}
	return all, nil
}

// parseSafetensors finds the tensors of a whole file, sorted by position.
func parseSafetensors(data []byte) ([]stored, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("the file has %d bytes, a safetensors file has at least 8", len(data))
	}
	n, rest := binary.LittleEndian.Uint64(data), data[8:]
	if n > maxHeader {
		return nil, fmt.Errorf("the header's length is %d bytes, at most %d are allowed: not a safetensors file", n, maxHeader)
	}
	if n > uint64(len(rest)) {
		return nil, fmt.Errorf("the header's length is %d bytes, the file has %d after it: the file is cut short", n, len(rest))
	}
	all, err := parseHeader(rest[:n])
	if err != nil {
		return nil, err
	}
	return all, place(all, rest[n:])
}

// parseHeader reads the JSON object. It goes key by key because decoding into a
// map would silently keep the last of two tensors of one name.
func parseHeader(header []byte) ([]stored, error) {
	dec := json.NewDecoder(bytes.NewReader(header))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("the header is not a JSON object")
	}
	var all []stored
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		name, _ := key.(string) // the keys of an object are strings
		if seen[name] {
			return nil, fmt.Errorf("tensor %s is in the header twice", quote(name))
		}
		seen[name] = true
		s, err := parseEntry(dec, name)
		if err != nil {
			return nil, err
		}
		if name != "__metadata__" {
			all = append(all, s)
		}
		if len(all) > maxTensors {
			return nil, fmt.Errorf("the header has more than %d tensors", maxTensors)
		}
	}
	return all, checkEnd(dec)
}

func checkEnd(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return notJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the header goes on after its JSON object")
	}
	return nil
}

func notJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the header's JSON has no end")
	}
	return fmt.Errorf("the header is not JSON: %w", err)
}

func parseEntry(dec *json.Decoder, name string) (stored, error) {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return stored{}, notJSON(err)
	}
	if name == "__metadata__" {
		return stored{}, nil
	}
	if len(name) > maxName {
		return stored{}, fmt.Errorf("the name of tensor %s has %d bytes, at most %d are allowed", quote(name), len(name), maxName)
	}
	var entry struct {
		DType   string  `json:"dtype"`
		Shape   []int   `json:"shape"`
		Offsets []int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw, &entry); err != nil || entry.DType == "" || entry.Shape == nil || len(entry.Offsets) != 2 {
		return stored{}, fmt.Errorf("tensor %q: the header's entry is not a dtype, a shape and two data_offsets", name)
	}
	if len(entry.Shape) > maxDims {
		return stored{}, fmt.Errorf("tensor %q has %d dimensions, at most %d are allowed", name, len(entry.Shape), maxDims)
	}
	t := Tensor{Name: name, DType: dtypeNamed(entry.DType), Shape: entry.Shape}
	return stored{Tensor: t, begin: entry.Offsets[0], end: entry.Offsets[1], dtype: entry.DType}, nil
}

// place gives every tensor its view of the bytes after the header, and checks
// that together they are exactly these bytes.
func place(all []stored, data []byte) error {
	slices.SortFunc(all, func(a, b stored) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	size, at := int64(len(data)), int64(0)
	for i := range all {
		s := &all[i]
		if s.begin < 0 || s.end < s.begin || s.end > size {
			return fmt.Errorf("tensor %q has data_offsets [%d %d], the file has %d bytes after the header", s.Name, s.begin, s.end, size)
		}
		if s.begin < at {
			return fmt.Errorf("tensors %q and %q overlap: one ends at %d, the other begins at %d", all[i-1].Name, s.Name, at, s.begin)
		}
		if s.begin > at {
			return fmt.Errorf("tensor %q begins at %d, the one before it ends at %d: the bytes between are no tensor's", s.Name, s.begin, at)
		}
		if err := s.checkSize(); err != nil {
			return err
		}
		at, s.Data = s.end, data[s.begin:s.end:s.end]
	}
	if at != size {
		return fmt.Errorf("the file has %d bytes after the header, its tensors %d", size, at)
	}
	return nil
}

// checkSize compares the shape with the offsets. The size of an element of an
// unsupported type is not known, so such a tensor's shape is not checked.
func (s stored) checkSize() error {
	if s.DType == 0 {
		return nil
	}
	need, err := s.size()
	if err != nil {
		return err
	}
	if have := s.end - s.begin; have != need {
		return fmt.Errorf("tensor %q: shape %v of %v needs %d bytes, its data_offsets give %d", s.Name, s.Shape, s.DType, need, have)
	}
	return nil
}

// size is the number of bytes that the tensor's shape and type call for.
func (t Tensor) size() (int64, error) {
	need := uint64(t.DType.Size())
	for _, d := range t.Shape {
		hi, lo := bits.Mul64(need, uint64(max(d, 0)))
		if d < 0 || hi != 0 || lo > noLimit {
			return 0, fmt.Errorf("tensor %q has the impossible shape %v", t.Name, t.Shape)
		}
		need = lo
	}
	return int64(need), nil
}
