package engine

import "loquetier/engine/vk"

// AttentionGradKV records the gradients by the rotated keys and by the values,
// summed over the query heads that share them. AttentionGradQ comes before it.
func (k *Kernels) AttentionGradKV(rec *vk.Recorder, a AttentionGrad) error {
	pass := attentionPass{op: "attention_grad_kv", reads: []vk.Range{a.Delta}, writes: []vk.Range{a.D}, products: 4}
	if tile, ok := k.gradKVMatrix(a); ok {
		return k.attentionGrad(rec, a, k.gradTile(pass, "attention_grad_kv_matrix", tile, a, a.Key, 1))
	}
	return k.attentionGrad(rec, a, k.gradLanes(pass, "attention_grad_kv", a, k.Tuning.GradWorkgroup, k.Tuning.GradLanes, a.Key))
}
