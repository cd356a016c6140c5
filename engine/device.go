package engine

import (
	"errors"
	"fmt"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// Device is an open Vulkan device. It is a value: a process may hold several.
type Device struct {
	*vk.Device
	instance *vk.Instance
}

// Devices lists the Vulkan devices of the machine, those that cannot run
// Loquetier included: their Baseline says why.
func Devices() ([]vk.Info, error) {
	instance, err := vk.Open()
	if err != nil {
		return nil, err
	}
	defer instance.Close()
	return instance.Devices()
}

// OpenDevice opens the device that want selects (see vk.Select).
func OpenDevice(want string) (*Device, error) {
	instance, err := vk.Open()
	if err != nil {
		return nil, err
	}
	device, err := open(instance, want)
	if err != nil {
		instance.Close()
		return nil, err
	}
	return &Device{Device: device, instance: instance}, nil
}

func open(instance *vk.Instance, want string) (*vk.Device, error) {
	infos, err := instance.Devices()
	if err != nil {
		return nil, err
	}
	info, err := vk.Select(infos, want)
	if err != nil {
		return nil, err
	}
	return instance.OpenDevice(info)
}

// Close closes the device. It returns an error where buffers are still in use.
func (d *Device) Close() error {
	err := d.Device.Close()
	d.instance.Close()
	return err
}

// FamilyFor is the row of the tuning table that suits a device's abilities.
func FamilyFor(info vk.Info) string {
	if info.Type == vk.CPU {
		return "software"
	}
	return "gpu"
}

// TuningFor is FamilyFor's row, or the one that is forced by name.
func TuningFor(info vk.Info, forced string) (shaders.Tuning, error) {
	if forced == "" {
		forced = FamilyFor(info)
	}
	return shaders.TuningNamed(forced)
}

// Precision is a compute type and the storage it goes with.
type Precision struct {
	Weight weights.DType // storage of the base's matrices
	Act    weights.DType // matrix inputs, KV cache, adapters
}

func (p Precision) String() string {
	return fmt.Sprintf("%s weights, %s inputs", p.Weight, p.Act)
}

// ErrDType is returned for an unknown compute type.
var ErrDType = errors.New("known are auto, f32, f16, bf16")

// PrecisionFor turns a wish (auto, f32, f16, bf16) into storage types. f32
// keeps the weights as the files have them, which loses nothing; auto is f32 on
// software devices, otherwise bf16 for bf16 files and f16 for the rest.
func PrecisionFor(want string, info vk.Info, stored weights.DType) (Precision, error) {
	switch want {
	case "auto", "":
		switch {
		case info.Type == vk.CPU:
			return Precision{stored, weights.F32}, nil
		case stored == weights.BF16:
			return Precision{weights.BF16, weights.BF16}, nil
		}
		return Precision{weights.F16, weights.F16}, nil
	case "f32":
		return Precision{stored, weights.F32}, nil
	case "f16":
		return Precision{weights.F16, weights.F16}, nil
	case "bf16":
		return Precision{weights.BF16, weights.BF16}, nil
	}
	return Precision{}, fmt.Errorf("compute type %q: %w", want, ErrDType)
}
