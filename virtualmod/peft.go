package virtualmod

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// MaxRank is the largest rank of an adapter's module.
const MaxRank = 512

// The files of a PEFT folder.
const (
	peftConfigFile = "adapter_config.json"
	peftModelFile  = "adapter_model.safetensors"
)

// An Adapter is a LoRA adapter: as its files give it, the tensors views into the
// folder it was read from, or made by NewAdapter, the tensors in memory.
type Adapter struct {
	Name       string // the folder's; empty for a new one
	Base       string // the base model it names, as it was called where it was trained
	BaseLayers int    // how many layers the base has, more than every Module's Layer
	RSLoRA     bool   // scales are alpha/sqrt(rank) instead of alpha/rank
	DoRA       bool   // every module has a magnitude
	Modules    []Module
}

// A Module is what an adapter does to one linear module of one layer. With
// input x and base matrix W it gives
//
//	Wx + Scale*B(Ax)                                            (LoRA, arXiv 2106.09685)
//	Magnitude/‖W + Scale*BA‖ (Wx + Scale*B(Ax)), ‖·‖ by row     (DoRA, arXiv 2402.09353)
//
// to which the base's bias is added, if it has one.
type Module struct {
	Layer     int
	Kind      engine.Module
	Rank      int
	Alpha     float64
	Scale     float64
	A         weights.Tensor  // [Rank, in]
	B         weights.Tensor  // [out, Rank]
	Magnitude *weights.Tensor // [out]; nil without DoRA
}

// name is the module's name in the base, which a PEFT configuration refers to.
func (m Module) name() string { return moduleName(m.Layer, m.Kind) }

func moduleName(layer int, kind engine.Module) string {
	return "model.layers." + strconv.Itoa(layer) + "." + kind.Path()
}

// tensorPrefix is what PEFT puts before a module's name in a tensor's.
const tensorPrefix = "base_model.model."

// tensorName is the name of one of the module's tensors in PEFT's files.
func (m Module) tensorName(part string) string { return tensorPrefix + m.name() + part }

// loraScale is what alpha and rank make of B*A: alpha/rank, or alpha/sqrt(rank) for
// rsLoRA (arXiv 2312.03732).
func loraScale(alpha float64, rank int, rslora bool) float64 {
	if rslora {
		return alpha / math.Sqrt(float64(rank))
	}
	return alpha / float64(rank)
}

// ReadPEFT reads an adapter in the layout of the PEFT library and checks it
// against the base it is to change: the names and shapes of its tensors, and
// that its configuration and its tensors agree. What would change the result in
// a way that this program does not compute is an error that names the field or
// tensor. Modules come in the order of layers, then kinds. The tensors are valid
// until the folder is closed; closing it is the caller's.
func ReadPEFT(folder weights.Folder, base weights.Config) (*Adapter, error) {
	config, err := readPEFTConfig(folder)
	if err != nil {
		return nil, err
	}
	tensors, err := weights.ReadTensors(folder, peftModelFile)
	if err != nil {
		return nil, err
	}
	modules, err := gatherModules(tensors, base)
	if err != nil {
		return nil, err
	}
	if len(modules) == 0 {
		return nil, fmt.Errorf("%s has no tensors", folder.Path(peftModelFile))
	}
	for i := range modules {
		if err := modules[i].complete(config, base, folder.Path(peftModelFile)); err != nil {
			return nil, err
		}
	}
	if err := config.checkTargets(modules, base); err != nil {
		return nil, err
	}
	return &Adapter{
		Name:       filepath.Base(folder.Path("")),
		Base:       config.base,
		BaseLayers: base.Layers,
		RSLoRA:     config.rslora,
		DoRA:       config.dora,
		Modules:    modules,
	}, nil
}

// gatherModules puts tensors of one module together.
func gatherModules(tensors []weights.Tensor, base weights.Config) ([]Module, error) {
	type key struct {
		layer int
		kind  engine.Module
	}
	found := map[key]*Module{}
	for _, t := range tensors {
		layer, kind, part, err := parseTensorName(t.Name, base)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.File, err)
		}
		m := found[key{layer, kind}]
		if m == nil {
			m = &Module{Layer: layer, Kind: kind}
			found[key{layer, kind}] = m
		}
		if !m.set(part, t) {
			return nil, fmt.Errorf("%s: tensor %q is there under two names", t.File, t.Name)
		}
	}
	modules := make([]Module, 0, len(found))
	for _, m := range found {
		modules = append(modules, *m)
	}
	slices.SortFunc(modules, func(a, b Module) int {
		return cmp.Or(cmp.Compare(a.Layer, b.Layer), cmp.Compare(a.Kind, b.Kind))
	})
	return modules, nil
}

// Suffixes of tensor names. PEFT writes a magnitude without ".weight" and reads
// it with.
const (
	partA         = ".lora_A.weight"
	partB         = ".lora_B.weight"
	partMagnitude = ".lora_magnitude_vector"
)

// set takes a tensor; it says false if the module has one in that place.
func (m *Module) set(part string, t weights.Tensor) bool {
	switch part {
	case partA:
		m.A = t
	case partB:
		m.B = t
	case partMagnitude:
		if m.Magnitude != nil {
			return false
		}
		m.Magnitude = &t
	}
	return true
}

// parseTensorName takes apart base_model.model.<module><part>.
func parseTensorName(name string, base weights.Config) (layer int, kind engine.Module, part string, err error) {
	module, ok := strings.CutPrefix(name, tensorPrefix)
	for _, part = range []string{partA, partB, partMagnitude, partMagnitude + ".weight"} {
		path, found := strings.CutSuffix(module, part)
		if !ok || !found {
			continue
		}
		layer, kind, err = parseModuleName(path, base)
		if err != nil {
			err = fmt.Errorf("tensor %q: %w", name, err)
		}
		if strings.HasPrefix(part, partMagnitude) {
			part = partMagnitude
		}
		return layer, kind, part, err
	}
	if isEmbedding(strings.Split(name, ".")) {
		return 0, 0, "", fmt.Errorf("tensor %q: adapters of embed_tokens and lm_head are not supported", name)
	}
	return 0, 0, "", fmt.Errorf("tensor %q is not a LoRA tensor: want base_model.model.<module> with %s, %s or %s", name, partA, partB, partMagnitude)
}

// isEmbedding says whether a module's path goes to the embedding or the output
// matrix.
func isEmbedding(path []string) bool {
	return slices.Contains(path, "embed_tokens") || slices.Contains(path, "lm_head")
}

func parseModuleName(path string, base weights.Config) (layer int, kind engine.Module, err error) {
	if isEmbedding(strings.Split(path, ".")) {
		return 0, 0, fmt.Errorf("adapters of embed_tokens and lm_head are not supported")
	}
	rest, ok := strings.CutPrefix(path, "model.layers.")
	number, inner, _ := strings.Cut(rest, ".")
	layer, err = strconv.Atoi(number)
	if !ok || err != nil || strconv.Itoa(layer) != number || layer < 0 {
		return 0, 0, fmt.Errorf("no module %q in a base of family %s", path, base.Architecture)
	}
	for kind = range engine.Module(engine.Modules) {
		if kind.Path() != inner {
			continue
		}
		if layer >= base.Layers {
			err = fmt.Errorf("layer %d, but the base has %d: an adapter of another base", layer, base.Layers)
		}
		return layer, kind, err
	}
	return 0, 0, fmt.Errorf("no module %q in a base of family %s", path, base.Architecture)
}

// complete fills in rank and scale by the configuration and checks the tensors'
// shapes by both.
func (m *Module) complete(config *peftConfig, base weights.Config, file string) error {
	for _, part := range []struct {
		name string
		have bool
		want bool
	}{
		{partA, m.A.Name != "", true},
		{partB, m.B.Name != "", true},
		{partMagnitude, m.Magnitude != nil, config.dora},
	} {
		if part.want && !part.have {
			return fmt.Errorf("%s: tensor %q is missing", file, m.tensorName(part.name))
		}
		if part.have && !part.want {
			return fmt.Errorf("%s: tensor %q is a magnitude, but use_dora is not true", file, m.Magnitude.Name)
		}
	}
	var err error
	if m.Rank, m.Alpha, m.Scale, err = config.scale(m.name()); err != nil {
		return err
	}
	return m.checkShapes(base)
}

// checkShapes tells a rank that is not the configuration's from sizes that are
// not the base's.
func (m *Module) checkShapes(base weights.Config) error {
	out, in := m.Kind.Dims(base)
	shapes := []struct {
		t    *weights.Tensor
		want []int
		rank int // which dimension is the rank; -1: none
	}{{&m.A, []int{m.Rank, in}, 0}, {&m.B, []int{out, m.Rank}, 1}, {m.Magnitude, []int{out}, -1}}
	for _, s := range shapes {
		if s.t == nil {
			continue
		}
		if s.rank >= 0 && len(s.t.Shape) == 2 && s.t.Shape[s.rank] != m.Rank && s.t.Shape[1-s.rank] == s.want[1-s.rank] {
			return fmt.Errorf("%s: tensor %q has rank %d, %s gives %d", s.t.File, s.t.Name, s.t.Shape[s.rank], peftConfigFile, m.Rank)
		}
		if err := s.t.CheckShape(s.want, "its module in the base"); err != nil {
			return fmt.Errorf("adapter of another base: %w", err)
		}
	}
	return nil
}
