package virtualmod

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// A Spec says what a new adapter changes: the Targets of every layer, all with
// one rank and one alpha.
type Spec struct {
	Rank    int             // 1 to MaxRank
	Alpha   float64         // the scale is Alpha/Rank, for rsLoRA Alpha/sqrt(Rank)
	RSLoRA  bool            // arXiv 2312.03732
	Targets []engine.Module // at least one, none twice, in any order
}

// NewAdapter makes an adapter to start a training from, in float32: each A
// uniform in ±1/sqrt(in), which is PEFT's default (Kaiming's initialization,
// arXiv 1502.01852, with a = sqrt(5)), each B zero, so that at first it changes
// nothing. The same seed gives the same numbers for a module whatever the other
// targets are and whatever their order. The adapter has no Name and no Base.
func NewAdapter(spec Spec, base weights.Config, seed uint64) (*Adapter, error) {
	return spec.adapter(base, func(m *Module) {
		_, in := m.Kind.Dims(base)
		m.A.Data, m.B.Data = make([]byte, m.A.Bytes()), make([]byte, m.B.Bytes())
		stream := uint64(m.Layer)*engine.Modules + uint64(m.Kind)
		fillUniform(m.A.Data, 1/math.Sqrt(float64(in)), rand.New(rand.NewPCG(seed, stream)))
	})
}

// NewRandomAdapter makes an adapter for benchmarks, one that changes what the
// base says: A and B are random, their numbers to be made on the device. The rank
// is a multiple of 4.
func NewRandomAdapter(spec Spec, base weights.Config, seed uint32) (*Adapter, error) {
	if spec.Rank%4 != 0 {
		return nil, fmt.Errorf("new adapter: the rank is %d, random ones take a multiple of 4", spec.Rank)
	}
	const deviation = 0.02
	return spec.adapter(base, func(m *Module) {
		for i, t := range []*weights.Tensor{&m.A, &m.B} {
			stream := uint32(m.Layer*engine.Modules+int(m.Kind))*2 + uint32(i)
			t.Random = &weights.Random{Seed: seed<<16 ^ stream, Deviation: deviation}
		}
	})
}

// adapter makes the spec's modules and lets fill say what is in their tensors.
func (s Spec) adapter(base weights.Config, fill func(*Module)) (*Adapter, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	kinds := slices.Sorted(slices.Values(s.Targets))
	a := &Adapter{BaseLayers: base.Layers, RSLoRA: s.RSLoRA}
	for layer := range base.Layers {
		for _, kind := range kinds {
			m := s.module(base, layer, kind)
			fill(&m)
			a.Modules = append(a.Modules, m)
		}
	}
	return a, nil
}

func (s Spec) check() error {
	if s.Rank < 1 || s.Rank > MaxRank {
		return fmt.Errorf("the rank is %d, want 1 to %d", s.Rank, MaxRank)
	}
	// The scale goes to the device as a float32. The negation catches NaN.
	if !(s.Alpha > 0 && s.Alpha <= math.MaxFloat32) {
		return fmt.Errorf("alpha is %v, want more than 0 and finite", s.Alpha)
	}
	if len(s.Targets) == 0 {
		return errors.New("there are no target modules")
	}
	for i, kind := range s.Targets {
		if kind >= engine.Modules {
			return fmt.Errorf("there is no module %d", kind)
		}
		if slices.Contains(s.Targets[:i], kind) {
			return fmt.Errorf("target module %v is given twice", kind)
		}
	}
	return nil
}

// module is one of the adapter's, its tensors still without numbers.
func (s Spec) module(base weights.Config, layer int, kind engine.Module) Module {
	out, in := kind.Dims(base)
	m := Module{Layer: layer, Kind: kind, Rank: s.Rank, Alpha: s.Alpha, Scale: loraScale(s.Alpha, s.Rank, s.RSLoRA)}
	m.A = newTensor(m.tensorName(partA), s.Rank, in)
	m.B = newTensor(m.tensorName(partB), out, s.Rank)
	return m
}

func newTensor(name string, rows, columns int) weights.Tensor {
	return weights.Tensor{Name: name, DType: weights.F32, Shape: []int{rows, columns}, File: "a new adapter"}
}

// fillUniform fills data with float32 in ±bound.
func fillUniform(data []byte, bound float64, r *rand.Rand) {
	for ; len(data) > 0; data = data[4:] {
		binary.LittleEndian.PutUint32(data, math.Float32bits(float32(bound*(2*r.Float64()-1))))
	}
}

// ParseTargets reads a list of modules as people write it: "all", or names such
// as "q_proj,v_proj" in any order, blanks around them allowed. They come in the
// order of the forward pass. A name given twice is an error: likely another was
// meant.
func ParseTargets(s string) ([]engine.Module, error) {
	var all, targets []engine.Module
	for kind := range engine.Module(engine.Modules) {
		all = append(all, kind)
	}
	if strings.TrimSpace(s) == "all" {
		return all, nil
	}
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSpace(name)
		at := slices.IndexFunc(all, func(m engine.Module) bool { return m.String() == name })
		if at < 0 {
			return nil, fmt.Errorf("unknown target module %.80q: known are all, or a list of %s", name, moduleNames(all))
		}
		if slices.Contains(targets, all[at]) {
			return nil, fmt.Errorf("target module %s is given twice", name)
		}
		targets = append(targets, all[at])
	}
	slices.Sort(targets)
	return targets, nil
}

func moduleNames(modules []engine.Module) string {
	var names []string
	for _, m := range modules {
		names = append(names, m.String())
	}
	return strings.Join(names, ", ")
}
