package engine

import "loquetier/engine/vk"

// AttentionGradKV records the gradients by the rotated keys and by the values,
// summed over the query heads that share them. AttentionGradQ comes before it.
func (k *Kernels) AttentionGradKV(rec *vk.Recorder, a AttentionGrad) error {
	if err := k.checkAttentionGrad("attention_grad_kv", a); err != nil {
		return err
	}
	wg, lanes := k.Tuning.GradWorkgroup, headLanes(k.Tuning.GradLanes, a.Size)
	name := k.names.attentionGradKV
	if lanes > 1 {
		name = k.names.attentionGradKVSplit
	}
	p, err := k.pipeline(name, wg, uint32(a.Size), lanes, k.Tuning.GradPer)
	if err != nil {
		return err
	}
	push := a.push()
	rec.Dispatch(vk.Dispatch{
		Pipeline: p, Push: vk.Push(&push),
		Groups: [3]uint32{uint32(a.Count), uint32(a.Key), uint32(ceil(a.Longest, int(wg/lanes)))},
		Reads:  []vk.Range{a.Q, a.Cache.Keys, a.Values, a.DY, a.Stats, a.Delta, a.Tiles, a.Tables},
		Writes: []vk.Range{a.D},
		Work:   a.work(4),
	})
	return nil
}
