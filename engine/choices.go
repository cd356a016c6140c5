package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// Probing is when the ways of products are measured on the device.
type Probing uint8

// Probing.
const (
	ProbeNever Probing = iota // the tuning's choices alone
	ProbeOnce                 // on a GPU, where the folder has no measurement of it
	ProbeAgain                // on any device, whatever the folder has
)

// probeLimit is how long a measurement at the start of an engine may take, about;
// thoroughLimit that of one that was asked for by itself.
const (
	probeLimit    = 3 * time.Second
	thoroughLimit = time.Minute
)

// choose gives the kernels what was measured on the device, now or before, as the
// configuration asks for it.
func (e *Engine) choose() error {
	c, k := e.config, e.kernels
	if c.Probing == ProbeNever || c.Probing == ProbeOnce && (e.device.Info.Type == vk.CPU || c.Folder == "") {
		return nil
	}
	file, err := k.choicesFile(c.Folder)
	if err != nil {
		return err
	}
	if c.Probing == ProbeOnce {
		k.Choices, _ = file.read() // what cannot be read is measured again
	}
	_, err = k.measure(file, probeLimit, c.Probed)
	return err
}

// measure adds to the kernels' choices what they lack, and keeps them. What there
// is no time for is left for the next time.
func (k *Kernels) measure(file choicesFile, limit time.Duration, progress func(done, total int)) ([]Trial, error) {
	missing := slices.DeleteFunc(ProbeClasses(), k.Choices.Has)
	if len(missing) == 0 {
		return nil, nil
	}
	trials, err := k.Probe(missing, limit, progress)
	if err != nil {
		return nil, err
	}
	if found := Choices(trials); len(found) > 0 {
		k.Choices = append(k.Choices, found...)
		_ = file.write(k.Choices) // as above
	}
	return trials, nil
}

// ProbeDevice measures the ways of products on a device for a compute type, and
// keeps the choices in a folder, for engines that probe once; "" is nowhere.
func ProbeDevice(device *Device, dtype, folder string, progress func(done, total int)) ([]Trial, error) {
	precision, err := PrecisionFor(dtype, device.Info, weights.F16)
	if err != nil {
		return nil, err
	}
	tuning, err := TuningFor(device.Info, "")
	if err != nil {
		return nil, err
	}
	k, err := NewKernels(device.Device, tuning, precision.Weight, precision.Act)
	if err != nil {
		return nil, err
	}
	file, err := k.choicesFile(folder)
	if err != nil {
		return nil, err
	}
	return k.measure(file, thoroughLimit, progress)
}

// choicesFile is where the choices of a device and a pair of types are kept, and
// what they are good for.
type choicesFile struct {
	path   string // "": they are kept nowhere
	stamp  choicesStamp
	tuning shaders.Tuning
}

// choicesStamp tells measurements apart that say nothing about each other.
type choicesStamp struct {
	Device  string `json:"device"`
	Driver  string `json:"driver"`
	Weight  string `json:"weight"`
	Act     string `json:"act"`
	Kernels string `json:"kernels"` // a hash of the kernels and of the shapes that were tried
}

// choicesData is the file's content, JSON.
type choicesData struct {
	choicesStamp
	Choices []choiceData `json:"choices"`
}

type choiceData struct {
	shaders.Class
	Way string `json:"way"`
}

func (k *Kernels) choicesFile(folder string) (choicesFile, error) {
	info := k.device.Info
	sum, err := shaders.Sum([]string{"linear", "linear_grad"}, k.Tuning)
	if err != nil {
		return choicesFile{}, err
	}
	weight, act := storageName(k.Weight), storageName(k.Act)
	path := ""
	if folder != "" {
		path = filepath.Join(folder, fmt.Sprintf("products-%s-%s-%s.json", info.CacheKey(), weight, act))
	}
	return choicesFile{
		path:   path,
		stamp:  choicesStamp{Device: info.Name, Driver: info.Driver, Weight: weight, Act: act, Kernels: sum},
		tuning: k.Tuning,
	}, nil
}

var errForeign = errors.New("measured with another device, driver or program")

// read returns the choices in the file. Whatever is wrong with it, it is of no use.
func (f choicesFile) read() (shaders.Choices, error) {
	data, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	var d choicesData
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	if d.choicesStamp != f.stamp {
		return nil, errForeign
	}
	var choices shaders.Choices
	for _, c := range d.Choices {
		way, err := f.tuning.WayNamed(c.Class, c.Way)
		if err != nil {
			return nil, err
		}
		choices = append(choices, shaders.Choice{Class: c.Class, Way: way})
	}
	return choices, nil
}

// write replaces the file.
func (f choicesFile) write(choices shaders.Choices) error {
	if f.path == "" {
		return nil
	}
	d := choicesData{choicesStamp: f.stamp, Choices: []choiceData{}}
	for _, c := range choices {
		d.Choices = append(d.Choices, choiceData{c.Class, c.Way.String()})
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	return weights.WriteFileAtomic(f.path, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", " ")
		return encoder.Encode(d)
	})
}
