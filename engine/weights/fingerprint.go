package weights

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// sampled is how many bytes of a tensor's beginning, and of its end, go into a
// fingerprint: enough to tell trained models apart, quick for large ones.
const sampled = 4096

// Fingerprint tells bases apart: what is computed with one and carried to
// another with the same fingerprint goes on as before. It covers the
// configuration, and all tensors' names, types, shapes and samples of their numbers.
func (c *Checkpoint) Fingerprint() string {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(c.Config); err != nil {
		panic("BUG: encode a model's configuration: " + err.Error())
	}
	for _, name := range c.Names() {
		t := c.tensors[name]
		fmt.Fprintf(h, "%s %s %v %d\n", name, t.DType, t.Shape, len(t.Data))
		h.Write(t.Data[:min(sampled, len(t.Data))])
		h.Write(t.Data[max(0, len(t.Data)-sampled):])
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}
