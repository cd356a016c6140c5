// Package shaders_test runs every kernel of the table on a Vulkan device, in
// every shape the tunings know and some they do not, against the oracles of
// shaders/ref.
package shaders_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"loquetier/engine"
	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// device is the one that all tests share; its pipelines are made once.
var device *vk.Device

// made holds the kernels by tuning and types; ran the names of those dispatched.
var (
	made = map[string]*engine.Kernels{}
	ran  = map[string]bool{}
)

func TestMain(m *testing.M) {
	if os.Getenv("LOQUETIER_CHECK") == "" {
		os.Setenv("LOQUETIER_CHECK", "1") // poison memory, verify barriers
	}
	flag.Parse()
	code, err := runOnDevice(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		code = 1
	}
	os.Exit(code)
}

// runOnDevice opens the device that LOQUETIER_DEVICE names ("": the best), and
// fails as well where a test leaves buffers behind or no test runs a kernel.
func runOnDevice(m *testing.M) (code int, err error) {
	in, err := vk.Open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	infos, err := in.Devices()
	if err != nil {
		return 0, err
	}
	info, err := vk.Select(infos, os.Getenv("LOQUETIER_DEVICE"))
	if err != nil {
		return 0, err
	}
	if device, err = in.OpenDevice(info); err != nil {
		return 0, err
	}
	keep, err := device.Alloc(vk.Local, 1) // so that the driver's allocation outlives a test's buffers
	if err != nil {
		return 0, err
	}
	code = m.Run()
	device.Free(keep)
	if err := device.Close(); err != nil {
		return code, err
	}
	all := flag.Lookup("test.run").Value.String()+flag.Lookup("test.list").Value.String() == ""
	if missed := notRun(); code == 0 && all && len(missed) > 0 {
		return code, fmt.Errorf("no test runs the kernels %s", strings.Join(missed, ", "))
	}
	return code, nil
}

// notRun lists the kernels of the table that the device could have run and no
// test has.
func notRun() []string {
	var missed []string
	for _, k := range shaders.Kernels() {
		if !ran[k.Name()] && engine.Offers(device.Info, k.Needs) {
			missed = append(missed, k.Name())
		}
	}
	return missed
}

// pairs are the storage types of weights and activations that kernels exist for.
var pairs = []struct{ weight, act weights.DType }{
	{weights.F32, weights.F32}, {weights.F16, weights.F16}, {weights.BF16, weights.BF16},
	{weights.F16, weights.F32}, {weights.BF16, weights.F32},
}

var types = []weights.DType{weights.F32, weights.F16, weights.BF16}

// kernels are the kernels for a tuning and types, made once for all tests.
func kernels(t *testing.T, tuning shaders.Tuning, weight, act weights.DType) *engine.Kernels {
	key := fmt.Sprint(tuning, weight, act)
	if made[key] == nil {
		k, err := engine.NewKernels(device, tuning, weight, act)
		require.NoError(t, err)
		made[key] = k
	}
	return made[key]
}

// tuning is a row of the table.
func tuning(t *testing.T, name string) shaders.Tuning {
	row, err := shaders.TuningNamed(name)
	require.NoError(t, err)
	return row
}

// workgroups are the sizes worth trying that the device takes.
func workgroups() []uint32 {
	return slices.DeleteFunc([]uint32{8, 16, 32, 64, 128, 256}, func(wg uint32) bool { return int(wg) > device.Info.MaxWorkgroup })
}

// brief tells whether shapes that take long to compile meet only a part of the
// types and cases: on a software device, which takes seconds for a workgroup that
// reduces many sums, unless LOQUETIER_LONG is set.
func brief() bool { return device.Info.Type == vk.CPU && os.Getenv("LOQUETIER_LONG") == "" }

// few are the workgroups for kernels that take long to compile.
func few() []uint32 {
	return slices.DeleteFunc(workgroups(), func(wg uint32) bool { return brief() && wg != 8 && wg != 32 && wg != 256 })
}

// costly tells whether a shape is worth its compilation in float32 alone.
func costly(split bool, sums uint32) bool { return split && sums > 8 && brief() }
