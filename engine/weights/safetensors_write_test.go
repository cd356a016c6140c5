package weights

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Files that PyTorch's safetensors wrote come out the same, to the byte.
func TestWriteTensorsAsPyTorch(t *testing.T) {
	files, err := filepath.Glob("../../testdata/golden/*/*/*/*/adapter_model.safetensors")
	require.NoError(t, err)
	grads, err := filepath.Glob("../../testdata/golden/tiny/*/*/grads_step0.safetensors")
	require.NoError(t, err)
	models, err := filepath.Glob("../../testdata/golden/tiny/*/model/model.safetensors")
	require.NoError(t, err)
	files = slices.Concat(files, grads, models)
	require.Greater(t, len(files), 40)
	for _, file := range files {
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		tensors, err := ReadTensors(openDir(t, filepath.Dir(file)), filepath.Base(file))
		require.NoError(t, err)
		metadata := map[string]string{"format": "pt"}
		if !bytes.Contains(want[:200], []byte(`"__metadata__":{"format":"pt"}`)) {
			metadata = nil
		}
		slices.Reverse(tensors) // the order they are given in does not matter
		var got bytes.Buffer
		require.NoError(t, WriteTensors(&got, tensors, metadata))
		assert.True(t, bytes.Equal(want, got.Bytes()), file)
	}
}

func TestWriteTensorsOrder(t *testing.T) {
	tensors := []Tensor{
		{Name: "a", DType: F16, Shape: []int{1}, Data: u16Bytes(1)},
		{Name: "<b>&", DType: BF16, Shape: []int{3}, Data: u16Bytes(2, 3, 4)},
		{Name: "z", DType: F32, Shape: []int{1, 2}, Data: f32Bytes(5, 6)},
		{Name: "y\n\u00e9", DType: F32, Data: f32Bytes(7)}, // a scalar
		{Name: "none", DType: F32, Shape: []int{0, 3}},
	}
	var out bytes.Buffer
	require.NoError(t, WriteTensors(&out, tensors, map[string]string{"b": "2", "a": "<1>"}))
	all, err := parseSafetensors(out.Bytes())
	require.NoError(t, err)
	var names []string
	for _, s := range all {
		i := slices.IndexFunc(tensors, func(x Tensor) bool { return x.Name == s.Name })
		require.GreaterOrEqual(t, i, 0, s.Name)
		names = append(names, s.Name)
		assert.Equal(t, tensors[i].DType, s.DType)
		assert.ElementsMatch(t, tensors[i].Shape, s.Shape)
		assert.Equal(t, string(tensors[i].Data), string(s.Data))
	}
	assert.Equal(t, []string{"none", "y\n\u00e9", "z", "<b>&", "a"}, names)
	assert.Contains(t, out.String(), `{"__metadata__":{"a":"<1>","b":"2"},"none":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}`)
	assert.Contains(t, out.String(), `{"dtype":"F32","shape":[],"data_offsets":[0,4]}`)
	assert.Equal(t, 0, (out.Len()-(8+4+6+2))%8, "the header's padding")
}

func TestWriteNoTensors(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, WriteTensors(&out, nil, nil))
	assert.Equal(t, "\x08\x00\x00\x00\x00\x00\x00\x00{}      ", out.String())
}

func TestWriteTensorsErrors(t *testing.T) {
	good := Tensor{Name: "w", DType: F32, Shape: []int{2}, Data: f32Bytes(1, 2)}
	long := strings.Repeat("x", 1025)
	cases := []struct {
		change func(x *Tensor)
		want   string
	}{
		{func(x *Tensor) { x.Shape = []int{3} }, `tensor "w": shape [3] of F32 needs 12 bytes, its data has 8`},
		{func(x *Tensor) { x.Data = x.Data[:7] }, `tensor "w": shape [2] of F32 needs 8 bytes, its data has 7`},
		{func(x *Tensor) { x.Shape = []int{-1, -2} }, `tensor "w" has the impossible shape [-1 -2]`},
		{func(x *Tensor) { x.Shape = []int{1 << 40, 1 << 40} }, `tensor "w" has the impossible shape [1099511627776 1099511627776]`},
		{func(x *Tensor) { x.Shape = make([]int, 9) }, `tensor "w" has 9 dimensions, at most 8 are allowed`},
		{func(x *Tensor) { x.DType = 0 }, `tensor "w" has no dtype, supported are F32, F16 and BF16`},
		{func(x *Tensor) { x.Name = "__metadata__" }, `a tensor cannot have the name "__metadata__"`},
		{func(x *Tensor) { x.Name = "\xff" }, `a tensor cannot have the name "\xff"`},
		{func(x *Tensor) { x.Name = long }, `the name of tensor "` + long[:120] + `..." has 1025 bytes, at most 1024 are allowed`},
		{func(x *Tensor) { x.Name = "other" }, `tensor "other" is to be written twice`},
	}
	for _, c := range cases {
		bad := good
		c.change(&bad)
		var out bytes.Buffer
		other := Tensor{Name: "other", DType: F16, Shape: []int{1}, Data: u16Bytes(1)}
		require.EqualError(t, WriteTensors(&out, []Tensor{other, bad}, nil), c.want)
		assert.Zero(t, out.Len(), "written before the check")
	}
	assert.EqualError(t, WriteTensors(&bytes.Buffer{}, make([]Tensor, maxTensors+1), nil), "1048577 tensors, at most 1048576 are written")
	huge := map[string]string{"k": strings.Repeat("v", maxHeader)}
	assert.ErrorContains(t, WriteTensors(&bytes.Buffer{}, nil, huge), "at most 100000000 are written")
}

// failing takes room bytes, then fails.
type failing struct{ room int }

var errFull = errors.New("no room")

func (f *failing) Write(p []byte) (int, error) {
	if n := f.room; n < len(p) {
		f.room = 0
		return n, errFull
	}
	f.room -= len(p)
	return len(p), nil
}

func TestWriteTensorsToFullWriter(t *testing.T) {
	x := []Tensor{{Name: "w", DType: F32, Shape: []int{2}, Data: f32Bytes(1, 2)}}
	var whole bytes.Buffer
	require.NoError(t, WriteTensors(&whole, x, nil))
	for room := range whole.Len() {
		err := WriteTensors(&failing{room}, x, nil)
		require.ErrorIs(t, err, errFull)
		want := "write the header of a safetensors file: no room"
		if room >= whole.Len()-8 {
			want = `write tensor "w": no room`
		}
		require.EqualError(t, err, want)
	}
	require.NoError(t, WriteTensors(&failing{whole.Len()}, x, nil))
}
