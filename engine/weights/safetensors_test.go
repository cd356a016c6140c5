package weights

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// raw is a safetensors file with the given header and bytes after it.
func raw(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

// encode is a valid safetensors file.
func encode(t *testing.T, tensors ...Tensor) []byte {
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var data []byte
	for _, x := range tensors {
		header[x.Name] = map[string]any{
			"dtype": x.DType.String(), "shape": x.Shape, "data_offsets": []int{len(data), len(data) + len(x.Data)},
		}
		data = append(data, x.Data...)
	}
	text, err := json.Marshal(header)
	require.NoError(t, err)
	return append(raw(string(text)+"   ", 0), data...)
}

func writeFile(t *testing.T, dir, file string, data []byte) {
	require.NoError(t, os.WriteFile(filepath.Join(dir, file), data, 0o644))
}

// openDir is a Folder that closes with the test.
func openDir(t *testing.T, dir string) Folder {
	folder, err := OpenDir(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, folder.Close()) })
	return folder
}

func TestReadTensors(t *testing.T) {
	dir := t.TempDir()
	a := Tensor{Name: "a", DType: F32, Shape: []int{2, 2}, Data: f32Bytes(1, 2, 3, 4)}
	b := Tensor{Name: "b", DType: BF16, Shape: []int{3}, Data: u16Bytes(0x3f80, 0x4000, 0xc000)}
	none := Tensor{Name: "none", DType: F16, Shape: []int{0, 7}}
	scalar := Tensor{Name: "scalar", DType: F16, Shape: []int{}, Data: u16Bytes(0x3c00)}
	writeFile(t, dir, "x.safetensors", encode(t, b, none, a, scalar))
	got, err := ReadTensors(openDir(t, dir), "x.safetensors")
	require.NoError(t, err)
	require.Len(t, got, 4)
	for i, want := range []Tensor{a, b, none, scalar} {
		assert.Equal(t, want.Name, got[i].Name)
		assert.Equal(t, want.DType, got[i].DType)
		assert.Equal(t, want.Shape, got[i].Shape)
		assert.Equal(t, string(want.Data), string(got[i].Data))
		assert.Equal(t, filepath.Join(dir, "x.safetensors"), got[i].File)
	}
	assert.Equal(t, []float32{1, 2, -2}, got[1].Float32s())
	assert.Equal(t, []float32{1}, got[3].Float32s())
	assert.Zero(t, got[2].Elements())
}

func TestCorruptSafetensors(t *testing.T) {
	entry := func(name, dtype, shape, offsets string) string {
		return fmt.Sprintf(`"%s":{"dtype":"%s","shape":%s,"data_offsets":%s}`, name, dtype, shape, offsets)
	}
	good := raw("{"+entry("w", "F32", "[2,3]", "[0,24]")+"}", 24)
	length := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), "{}"...) }
	cases := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, `the file has 0 bytes, a safetensors file has at least 8`},
		{"cut in the length", good[:5], `the file has 5 bytes, a safetensors file has at least 8`},
		{"cut in the header", good[:20], `the header's length is 57 bytes, the file has 12 after it: the file is cut short`},
		{"cut in the data", good[:len(good)-1], `tensor "w" has data_offsets [0 24], the file has 23 bytes after the header`},
		{"cut before the data", good[:8+57], `tensor "w" has data_offsets [0 24], the file has 0 bytes after the header`},
		{"bytes after the data", append(good[:len(good):len(good)], 0, 0), `the file has 26 bytes after the header, its tensors 24`},
		{"huge length", length(1 << 63), `the header's length is 9223372036854775808 bytes, at most 100000000 are allowed: not a safetensors file`},
		{"large length", length(99_999_999), `the header's length is 99999999 bytes, the file has 2 after it: the file is cut short`},
		{"not JSON", raw("pickle", 0), `the header is not a JSON object`},
		{"a list", raw("[]", 0), `the header is not a JSON object`},
		{"no end", raw(`{"w":`, 0), `the header's JSON has no end`},
		{"no brace", raw(`{`+entry("w", "F32", "[]", "[0,4]"), 4), `the header's JSON has no end`},
		{"bad syntax", raw(`{"w" 3}`, 0), `the header is not JSON: expected colon after object key`},
		{"two objects", raw(`{}{}`, 0), `the header goes on after its JSON object`},
		{"not an object", raw(`{"w":3}`, 0), `tensor "w": the header's entry is not a dtype, a shape and two data_offsets`},
		{"no dtype", raw(`{"w":{"shape":[1],"data_offsets":[0,4]}}`, 4), `tensor "w": the header's entry is not a dtype, a shape and two data_offsets`},
		{"no shape", raw(`{"w":{"dtype":"F32","data_offsets":[0,4]}}`, 4), `tensor "w": the header's entry is not a dtype, a shape and two data_offsets`},
		{"one offset", raw("{"+entry("w", "F32", "[1]", "[0]")+"}", 4), `tensor "w": the header's entry is not a dtype, a shape and two data_offsets`},
		{"fractional offset", raw("{"+entry("w", "F32", "[1]", "[0,4.5]")+"}", 4), `tensor "w": the header's entry is not a dtype, a shape and two data_offsets`},
		{"offset beyond int64", raw("{"+entry("w", "F32", "[1]", "[0,18446744073709551615]")+"}", 4), `tensor "w": the header's entry is not a dtype, a shape and two data_offsets`},
		{"unknown dtype", raw("{"+entry("w", "F8_E4M3", "[4]", "[0,4]")+"}", 4), `tensor "w" has dtype "F8_E4M3", supported are F32, F16 and BF16`},
		{"negative offset", raw("{"+entry("w", "F32", "[1]", "[-4,0]")+"}", 4), `tensor "w" has data_offsets [-4 0], the file has 4 bytes after the header`},
		{"backward offsets", raw("{"+entry("w", "F32", "[1]", "[4,0]")+"}", 4), `tensor "w" has data_offsets [4 0], the file has 4 bytes after the header`},
		{"shape too large", raw("{"+entry("w", "F32", "[2,3]", "[0,20]")+"}", 20), `tensor "w": shape [2 3] of F32 needs 24 bytes, its data_offsets give 20`},
		{"shape overflows", raw("{"+entry("w", "F32", "[4294967296,4294967296,4]", "[0,4]")+"}", 4), `tensor "w" has the impossible shape [4294967296 4294967296 4]`},
		{"negative shape", raw("{"+entry("w", "F32", "[-1,-1]", "[0,4]")+"}", 4), `tensor "w" has the impossible shape [-1 -1]`},
		{"many dimensions", raw("{"+entry("w", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]")+"}", 4), `tensor "w" has 9 dimensions, at most 8 are allowed`},
		{"overlap", raw("{"+entry("a", "F32", "[2]", "[0,8]")+","+entry("b", "F32", "[2]", "[4,12]")+"}", 12), `tensors "a" and "b" overlap: one ends at 8, the other begins at 4`},
		{"hole", raw("{"+entry("a", "F32", "[1]", "[0,4]")+","+entry("b", "F32", "[1]", "[8,12]")+"}", 12), `tensor "b" begins at 8, the one before it ends at 4: the bytes between are no tensor's`},
		{"twice", raw("{"+entry("a", "F32", "[1]", "[0,4]")+","+entry("a", "F32", "[1]", "[4,8]")+"}", 8), `tensor "a" is in the header twice`},
		{"long name", raw("{"+entry(strings.Repeat("x", 1025), "F32", "[1]", "[0,4]")+"}", 4), `the name of tensor "` + strings.Repeat("x", 120) + `..." has 1025 bytes, at most 1024 are allowed`},
		{"newline in a name", raw("{"+entry(`a\nb`, "F32", "[2]", "[0,4]")+"}", 4), `tensor "a\nb": shape [2] of F32 needs 8 bytes, its data_offsets give 4`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, dir, "x.safetensors", c.data)
			_, err := ReadTensors(openDir(t, dir), "x.safetensors")
			require.EqualError(t, err, filepath.Join(dir, "x.safetensors")+": "+c.want)
		})
	}
}

// However a good file is cut short, that is an error.
func TestTruncatedEverywhere(t *testing.T) {
	whole := encode(t, Tensor{Name: "a", DType: F32, Shape: []int{2}, Data: f32Bytes(1, 2)},
		Tensor{Name: "b", DType: F16, Shape: []int{2}, Data: u16Bytes(1, 2)})
	_, err := parseSafetensors(whole)
	require.NoError(t, err)
	for n := range whole {
		_, err := parseSafetensors(whole[:n])
		require.Error(t, err, "%d bytes", n)
		require.NotContains(t, err.Error(), "\n")
	}
}

// Whatever the bytes, parsing gives an error or tensors that lie within them.
func FuzzParseSafetensors(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"k":"v"}}`, 4))
	f.Add(raw(`{"a":{"dtype":"I8","shape":[],"data_offsets":[0,0]},"b":{"dtype":"BF16","shape":[2,0],"data_offsets":[0,0]}}`, 0))
	f.Add(raw(`{"a":{"dtype":"F16","shape":[9223372036854775807,2],"data_offsets":[0,2]}}`, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseSafetensors(data)
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		total := 0
		for _, s := range all {
			total += len(s.Data)
			if s.DType == 0 {
				continue
			}
			n := s.DType.Size()
			for _, d := range s.Shape {
				n *= d
			}
			assert.Len(t, s.Data, n)
		}
		assert.LessOrEqual(t, total, len(data)-8)
	})
}
