package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	must "github.com/stretchr/testify/require"

	"loquetier/engine/weights"
	"loquetier/shaders"
)

func newChoicesFile(t *testing.T) (choicesFile, shaders.Choices) {
	tuning, err := shaders.TuningNamed("gpu")
	must.NoError(t, err)
	var choices shaders.Choices
	for _, c := range ProbeClasses() {
		ways := tuning.Ways(c)
		choices = append(choices, shaders.Choice{Class: c, Way: ways[c.Rows%len(ways)]})
	}
	return choicesFile{
		path: filepath.Join(t.TempDir(), "new", "products.json"), tuning: tuning,
		stamp: choicesStamp{Device: "a", Driver: "b", Weight: "f16", Act: "f16", Kernels: "c"},
	}, choices
}

func TestChoicesAreReadAsTheyWereWritten(t *testing.T) {
	file, choices := newChoicesFile(t)
	_, err := file.read()
	must.ErrorIs(t, err, os.ErrNotExist)
	for range 2 { // the second time in its place
		must.NoError(t, file.write(choices))
		got, err := file.read()
		must.NoError(t, err)
		assert.Equal(t, choices, got)
	}
	left, err := os.ReadDir(filepath.Dir(file.path))
	must.NoError(t, err)
	assert.Len(t, left, 1)
}

func TestChoicesOfOthersAreIgnored(t *testing.T) {
	file, choices := newChoicesFile(t)
	must.NoError(t, file.write(choices))
	for name, change := range map[string]func(*choicesStamp){
		"device": func(s *choicesStamp) { s.Device = "x" }, "driver": func(s *choicesStamp) { s.Driver = "x" },
		"weight": func(s *choicesStamp) { s.Weight = "bf16" }, "act": func(s *choicesStamp) { s.Act = "f32" },
		"kernels": func(s *choicesStamp) { s.Kernels = "x" },
	} {
		other := file
		change(&other.stamp)
		_, err := other.read()
		assert.ErrorIs(t, err, errForeign, name)
	}
}

func TestDamagedChoicesAreIgnored(t *testing.T) {
	file, choices := newChoicesFile(t)
	must.NoError(t, file.write(choices))
	good, err := os.ReadFile(file.path)
	must.NoError(t, err)
	text := string(good)
	for name, damaged := range map[string]string{
		"empty": "", "half": text[:len(text)/2], "no JSON": "\x00\x01", "another's": `{"choices":3}`,
		"an unknown way": strings.Replace(text, `"way": "`, `"way": "x`, 1), "no rows": strings.Replace(text, `"rows": 1,`, `"rows": 0,`, 1),
	} {
		must.NotEqual(t, text, damaged, name)
		must.NoError(t, os.WriteFile(file.path, []byte(damaged), 0o644))
		_, err := file.read()
		assert.Error(t, err, name)
	}
}

// Where the system has no place for them they are kept nowhere, least of all where the program
// was started.
func TestChoicesWithoutAFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	device, err := OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	must.NoError(t, err)
	defer func() { must.NoError(t, device.Close()) }()
	_, all := newChoicesFile(t)
	tuning, err := shaders.TuningNamed("gpu")
	must.NoError(t, err)
	k, err := NewKernels(device.Device, tuning, weights.F32, weights.F32)
	must.NoError(t, err)
	file, err := k.choicesFile("")
	must.NoError(t, err)
	must.NoError(t, file.write(all))
	left, err := os.ReadDir(".")
	must.NoError(t, err)
	assert.Empty(t, left)
}

// The kernels and the shapes that were tried are part of what choices are good for.
func TestChoicesAreOfTheseKernels(t *testing.T) {
	file, _ := newChoicesFile(t)
	sum := func(ops []string, t shaders.Tuning) string {
		s, _ := shaders.Sum(ops, t)
		return s
	}
	all := []string{"linear", "linear_grad"}
	same, less := sum(all, file.tuning), sum(all[:1], file.tuning)
	file.tuning.Trials.Vector = nil
	assert.Len(t, same, 64)
	assert.NotEqual(t, same, less)
	assert.NotEqual(t, same, sum(all, file.tuning))
}

func TestChooseStaysWithTheTuningUnlessSomethingGains(t *testing.T) {
	for _, c := range []struct {
		times []int
		want  int
	}{{[]int{100}, 0}, {[]int{100, 98, 200}, 0}, {[]int{100, 98, 90, 96}, 2}, {[]int{100, 96, 97}, 1}} {
		var trials []Trial
		for _, ns := range c.times {
			trials = append(trials, Trial{Time: time.Duration(ns)})
		}
		for i, trial := range choose(trials) {
			assert.Equal(t, i == c.want, trial.Chosen, "%v %d", c.times, i)
		}
	}
	assert.Empty(t, choose(nil))
}

// A measurement that ended early goes on at the next start where it was.
func TestChoicesThatAreMissingAreMeasured(t *testing.T) {
	device, err := OpenDevice(os.Getenv("LOQUETIER_DEVICE"))
	must.NoError(t, err)
	defer func() { must.NoError(t, device.Close()) }()
	file, all := newChoicesFile(t)
	k, err := NewKernels(device.Device, file.tuning, weights.F32, weights.F32)
	must.NoError(t, err)
	missing := slices.IndexFunc(all, func(c shaders.Choice) bool { return c.In == 2048 && c.Out == 2048 })
	k.Choices = slices.Delete(slices.Clone(all), missing, missing+1)
	trials, err := k.measure(file, time.Hour, nil)
	must.NoError(t, err)
	must.NotEmpty(t, trials)
	for _, trial := range trials {
		assert.Equal(t, all[missing].Class, trial.Class)
	}
	kept, err := file.read()
	must.NoError(t, err)
	assert.Len(t, kept, len(all))
	trials, err = k.measure(file, time.Hour, nil)
	must.NoError(t, err)
	assert.Empty(t, trials, "nothing is missing any longer")
}
