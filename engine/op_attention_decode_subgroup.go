package engine

import "loquetier/engine/vk"

// FusesRope tells whether AttentionDecode can rotate and append by itself.
func (k *Kernels) FusesRope(h Heads) bool { return k.Tuning.DecodeDeep > 0 && k.lanesSuit(h) }

// lanesSuit tells whether attention_decode_subgroup runs on the device for
// such heads: whole groups of lanes, 16 bytes each, must make up a subgroup, and a
// rotation pairs two lanes.
func (k *Kernels) lanesSuit(h Heads) bool {
	info := k.device.Info
	bytes := h.Size * k.Act.Size()
	lanes := bytes / 16
	return info.SubgroupShuffle && bytes%16 == 0 && lanes >= 2 && lanes <= info.SubgroupSize && lanes&(lanes-1) == 0 &&
		int(k.Tuning.DecodeWorkgroup)%info.SubgroupSize == 0 && k.decodeShared(h) <= info.SharedMemory
}

// decodeShared is the shared memory that attention_decode_subgroup takes: the
// subgroups' sums and their softmaxes' ends.
func (k *Kernels) decodeShared(h Heads) int {
	subgroups := int(k.Tuning.DecodeWorkgroup) / k.device.Info.SubgroupSize
	return subgroups*h.Query/h.Key*(4*h.Size+8) + 16
}

// decodePipeline is the kernel of decode attention that suits the heads.
func (k *Kernels) decodePipeline(a AttentionDecode) (*vk.Pipeline, error) {
	t, size, group := k.Tuning, uint32(a.Size), uint32(a.Query/a.Key)
	if t.DecodeDeep > 0 && k.lanesSuit(a.Heads) {
		return k.pipeline(k.byAct("attention_decode_subgroup"), t.DecodeWorkgroup, size, group, uint32(k.device.Info.SubgroupSize), t.DecodeDeep, bit(a.Rope != nil))
	}
	return k.pipeline(k.byAct("attention_decode"), t.DecodeWorkgroup, size, group, t.DecodePer)
}
