package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// AttentionGradKV records the gradients by the rotated keys and by the values,
// summed over the query heads that share them, or in Shares sums over as many of them each.
// AttentionGradQ comes before it.
func (k *Kernels) AttentionGradKV(rec *vk.Recorder, a AttentionGrad) error {
	pass := attentionPass{op: "attention_grad_kv", reads: []vk.Range{a.Delta}, writes: []vk.Range{a.D}, products: 4}
	if tile, ok := k.gradKVMatrix(a); ok {
		return k.attentionGrad(rec, a, k.gradTile(pass, "attention_grad_kv_matrix", tile, a, a.Key*max(1, a.Shares), 1))
	}
	if a.Shares > 1 {
		return fmt.Errorf("BUG: %s: %d shares", pass.op, a.Shares)
	}
	return k.attentionGrad(rec, a, k.gradLanes(pass, "attention_grad_kv", a, k.Tuning.GradWorkgroup, k.Tuning.GradLanes, a.Key))
}
