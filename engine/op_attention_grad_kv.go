package engine

import "loquetier/engine/vk"

// AttentionGradKV records the gradients by the rotated keys and by the values,
// summed over the query heads that share them. AttentionGradQ comes before it.
func (k *Kernels) AttentionGradKV(rec *vk.Recorder, a AttentionGrad) error {
	return k.attentionGrad(rec, a, attentionPass{
		op: "attention_grad_kv", name: k.names.attentionGradKV, split: k.names.attentionGradKVSplit,
		workgroup: k.Tuning.GradWorkgroup, lanes: k.Tuning.GradLanes, heads: a.Key,
		reads: []vk.Range{a.Delta}, writes: []vk.Range{a.D}, products: 4,
	})
}
