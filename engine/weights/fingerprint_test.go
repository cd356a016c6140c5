package weights

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFingerprint(t *testing.T) {
	data := bytes.Repeat([]byte{1, 2, 3, 4}, 5000)
	of := func(change func(c *Checkpoint, t *Tensor)) string {
		tensor := Tensor{Name: "w", DType: F32, Shape: []int{50, 100}, Data: bytes.Clone(data)}
		c := &Checkpoint{Config: Config{Layers: 2}}
		change(c, &tensor)
		c.tensors = map[string]Tensor{tensor.Name: tensor}
		return c.Fingerprint()
	}
	same := of(func(*Checkpoint, *Tensor) {})
	require.Equal(t, same, of(func(*Checkpoint, *Tensor) {}))
	for what, change := range map[string]func(*Checkpoint, *Tensor){
		"config":     func(c *Checkpoint, _ *Tensor) { c.Config.Layers = 3 },
		"name":       func(_ *Checkpoint, x *Tensor) { x.Name = "v" },
		"shape":      func(_ *Checkpoint, x *Tensor) { x.Shape = []int{100, 50} },
		"first byte": func(_ *Checkpoint, x *Tensor) { x.Data[0]++ },
		"last byte":  func(_ *Checkpoint, x *Tensor) { x.Data[len(data)-1]++ },
	} {
		require.NotEqual(t, same, of(change), what)
	}
}
