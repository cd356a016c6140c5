package virtualmod

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"loquetier/engine/weights"
)

// Write writes the adapter into an existing folder in the layout of the PEFT
// library: adapter_config.json and adapter_model.safetensors, tensors in
// float32. PEFT loads it as its own, and ReadPEFT with the same base gives the
// same modules. It is an error, before anything is written, if ReadPEFT would
// not take the adapter or give it back otherwise.
//
// An adapter in the folder is replaced. At no time, and after no crash or error,
// can the folder be loaded as anything but the old or the new adapter: first the
// old configuration is removed, without which nothing loads the folder, then
// the tensors are replaced, and the new configuration comes last. In another
// order new tensors would lie beside an old configuration, or the other way
// around, and if only alpha differed nobody would notice. A caller who wants the
// old adapter to stay until the new one is complete writes to a folder of its
// own and renames that.
func (a *Adapter) Write(dir string) error {
	if err := a.write(dir); err != nil {
		return fmt.Errorf("write adapter %s: %w", dir, err)
	}
	return nil
}

func (a *Adapter) write(dir string) error {
	if err := a.checkWritable(); err != nil {
		return err
	}
	config, err := a.encodeConfig()
	if err != nil {
		return err
	}
	if err := a.writeModel(dir); err != nil {
		return err
	}
	return writeConfig(dir, config)
}

// writeModel takes the configuration away and replaces the tensors.
func (a *Adapter) writeModel(dir string) error {
	if err := weights.RemoveFile(filepath.Join(dir, peftConfigFile)); err != nil {
		return err
	}
	return weights.WriteFileAtomic(filepath.Join(dir, peftModelFile), func(w io.Writer) error {
		return weights.WriteTensors(w, a.tensors(), map[string]string{"format": "pt"})
	})
}

func writeConfig(dir string, config []byte) error {
	return weights.WriteFileAtomic(filepath.Join(dir, peftConfigFile), func(w io.Writer) error {
		_, err := w.Write(config)
		return err
	})
}

// tensors are the adapter's tensors as PEFT names them.
func (a *Adapter) tensors() []weights.Tensor {
	var all []weights.Tensor
	for _, m := range a.Modules {
		all = append(all, single(m.A, m.tensorName(partA)), single(m.B, m.tensorName(partB)))
		if m.Magnitude != nil {
			all = append(all, single(*m.Magnitude, m.tensorName(partMagnitude)))
		}
	}
	return all
}

// single is t in float32, under another name.
func single(t weights.Tensor, name string) weights.Tensor {
	t.Name = name
	if t.DType != weights.F32 {
		wide := make([]byte, t.Elements()*weights.F32.Size())
		weights.Convert(wide, weights.F32, t.Data, t.DType)
		t.DType, t.Data = weights.F32, wide
	}
	return t
}

// checkWritable refuses what a configuration cannot say or a reader would not
// take.
func (a *Adapter) checkWritable() error {
	if len(a.Modules) == 0 {
		return errors.New("it has no modules")
	}
	seen := map[string]bool{}
	for _, m := range a.Modules {
		if seen[m.name()] {
			return fmt.Errorf("module %s is there twice", m.name())
		}
		seen[m.name()] = true
		if err := m.checkWritable(a); err != nil {
			return fmt.Errorf("module %s: %w", m.name(), err)
		}
	}
	return nil
}

func (m Module) checkWritable(a *Adapter) error {
	if m.Layer < 0 || m.Layer >= a.BaseLayers {
		return fmt.Errorf("the base has %d layers", a.BaseLayers)
	}
	if m.Rank < 1 || m.Rank > MaxRank {
		return fmt.Errorf("its rank is %d, want 1 to %d", m.Rank, MaxRank)
	}
	if want := loraScale(m.Alpha, m.Rank, a.RSLoRA); m.Scale != want {
		return fmt.Errorf("its scale is %v, alpha %v and rank %d give %v", m.Scale, m.Alpha, m.Rank, want)
	}
	if (m.Magnitude != nil) != a.DoRA {
		return fmt.Errorf("it has a magnitude: %t, the adapter is DoRA: %t", m.Magnitude != nil, a.DoRA)
	}
	if len(m.A.Shape) != 2 || len(m.B.Shape) != 2 || m.A.Shape[0] != m.Rank || m.B.Shape[1] != m.Rank {
		return fmt.Errorf("its A has shape %v and its B %v, want [%d in] and [out %d]", m.A.Shape, m.B.Shape, m.Rank, m.Rank)
	}
	if m.Magnitude != nil && !slices.Equal(m.Magnitude.Shape, m.B.Shape[:1]) {
		return fmt.Errorf("the magnitude has shape %v, B has %v", m.Magnitude.Shape, m.B.Shape)
	}
	return nil
}
