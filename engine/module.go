package engine

import (
	"strings"

	"loquetier/engine/weights"
)

// Module is one of the linear modules of a layer that adapters may target.
type Module uint8

// Modules, in the order of a layer's forward pass.
const (
	QProj Module = iota
	KProj
	VProj
	OProj
	GateProj
	UpProj
	DownProj

	Modules = 7 // their number
)

// group is a set of modules that share their input, and so one product.
type group uint8

const (
	groupQKV group = iota
	groupO
	groupGateUp
	groupDown
	groups
)

// members lists a group's modules in the order of its parts.
func (g group) members() []Module {
	return [...][]Module{{QProj, KProj, VProj}, {OProj}, {GateProj, UpProj}, {DownProj}}[g]
}

// group is the group that the module is a member of.
func (m Module) group() group {
	return [...]group{groupQKV, groupQKV, groupQKV, groupO, groupGateUp, groupGateUp, groupDown}[m]
}

// Path is the module's name inside a layer, as Hugging Face writes it.
func (m Module) Path() string {
	return [...]string{
		"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
		"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
	}[m]
}

// String is the module's short name, such as q_proj.
func (m Module) String() string {
	_, name, _ := strings.Cut(m.Path(), ".")
	return name
}

// Dims is the size of the module's matrix in a base: W is [out, in].
func (m Module) Dims(c weights.Config) (out, in int) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	switch m {
	case QProj:
		return q, c.HiddenSize
	case KProj, VProj:
		return kv, c.HiddenSize
	case OProj:
		return c.HiddenSize, q
	case DownProj:
		return c.HiddenSize, c.IntermediateSize
	}
	return c.IntermediateSize, c.HiddenSize
}
