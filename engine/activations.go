package engine

import (
	"fmt"

	"loquetier/engine/vk"
)

// activations are what a layer computes on its way, for all rows of a step, and
// the backward pass needs again.
type activations struct {
	q      vk.Buffer         // [rows, heads * size] float32, rotated
	att    vk.Buffer         // [rows, heads * size]
	stats  vk.Buffer         // [rows, heads] float32: of attention's softmax; in training only
	gateUp vk.Buffer         // [rows, 2 * intermediate], before the activation; in training only
	qkv    vk.Buffer         // [rows, q + k + v] float32; where q and k are not normed the arena's will do
	v      [groups]vk.Buffer // the shrinks' results, grown with the adapters' ranks
}

// sized is a buffer with the bytes it takes.
type sized struct {
	to   *vk.Buffer
	size int
}

// times is the list for so many rows, where its sizes are those of a row.
func times(rows int, list []sized) []sized {
	for i := range list {
		list[i].size *= rows
	}
	return list
}

// activationWidths lists the buffers of a set, but for those that grow, with the
// bytes of a row.
func (e *Engine) activationWidths(a *activations) []sized {
	c, act := e.checkpointConfig, e.precision.Act.Size()
	q := c.Heads * c.HeadDim
	list := []sized{{&a.q, 4 * q}, {&a.att, act * q}}
	if c.QKNorm {
		list = append(list, sized{&a.qkv, 4 * (q + 2*c.KVHeads*c.HeadDim)})
	}
	return list
}

// recordWidths lists what a set has in addition of rows whose backward pass it
// serves, with the bytes of a row.
func (e *Engine) recordWidths(a *activations) []sized {
	c := e.checkpointConfig
	return []sized{{&a.stats, 4 * c.Heads}, {&a.gateUp, 2 * e.precision.Act.Size() * c.IntermediateSize}}
}

// shrinkBytes is the room for a group's shrink results up to a rank.
func (e *Engine) shrinkBytes(g group, maxRank int) int {
	return 4 * e.config.MaxRows * len(g.members()) * maxRank
}

// growShrink makes room for the shrink results of adapters up to a rank, and
// for their gradients.
func (e *Engine) growShrink(maxRank int) error {
	if err := e.grow(&e.tape.u, vk.Local, 4*e.config.TrainRows*maxParts*maxRank); err != nil {
		return fmt.Errorf("room for gradients of rank %d: %w", maxRank, err)
	}
	for _, a := range e.activationSets() {
		for g := range groups {
			if err := e.extend(&a.v[g], e.shrinkBytes(g, maxRank)); err != nil {
				return fmt.Errorf("room for rank %d: %w", maxRank, err)
			}
		}
	}
	return nil
}

// activationSets are the one that layers share and those of single layers, which
// a pending backward pass may need.
func (e *Engine) activationSets() []*activations {
	sets := []*activations{&e.arena.shared}
	for i := range e.tape.kept {
		sets = append(sets, &e.tape.kept[i])
	}
	return sets
}

func (a *activations) all() []vk.Buffer {
	return append(a.v[:], a.q, a.att, a.stats, a.gateUp, a.qkv)
}
