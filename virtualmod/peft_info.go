package virtualmod

import (
	"slices"

	"loquetier/engine"
)

// Info is a summary of an adapter for people.
type Info struct {
	Name       string
	Base       string    // the base model it names
	Ranks      []int     // those that occur, ascending
	Alphas     []float64 // those that occur, ascending
	Scales     []float64 // those that occur, ascending
	Kinds      []string  // kinds of modules that occur, such as q_proj
	Layers     int       // how many layers it changes
	Modules    int       // how many modules
	Parameters int       // numbers in all its tensors
	Bytes      int       // of all its tensors in their files
	RSLoRA     bool
	DoRA       bool
}

// Info sums the adapter up.
func (a *Adapter) Info() Info {
	info := Info{Name: a.Name, Base: a.Base, Modules: len(a.Modules), RSLoRA: a.RSLoRA, DoRA: a.DoRA}
	var layers []int
	var kinds []engine.Module
	for _, m := range a.Modules {
		info.Ranks = insert(info.Ranks, m.Rank)
		info.Alphas = insert(info.Alphas, m.Alpha)
		info.Scales = insert(info.Scales, m.Scale)
		layers, kinds = insert(layers, m.Layer), insert(kinds, m.Kind)
		info.Parameters += m.A.Elements() + m.B.Elements()
		info.Bytes += m.A.Bytes() + m.B.Bytes()
		if m.Magnitude != nil {
			info.Parameters += m.Magnitude.Elements()
			info.Bytes += m.Magnitude.Bytes()
		}
	}
	info.Layers = len(layers)
	for _, k := range kinds {
		info.Kinds = append(info.Kinds, k.String())
	}
	return info
}

// insert puts v into a sorted set.
func insert[T int | float64 | engine.Module](set []T, v T) []T {
	at, there := slices.BinarySearch(set, v)
	if there {
		return set
	}
	return slices.Insert(set, at, v)
}
