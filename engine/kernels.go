// Package engine runs steps: one forward pass over rows of any mix of kinds
// and adapters, in one upload, one submission and one wait.
package engine

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"loquetier/engine/vk"
	"loquetier/engine/weights"
	"loquetier/shaders"
)

// Kernels are the compute kernels of one device for one pair of storage
// types. Each op method (Embed, Norm, Linear ...) checks its arguments'
// sizes, then records one dispatch. Pipelines are made at first use.
type Kernels struct {
	Tuning  shaders.Tuning
	Choices shaders.Choices // of products, measured on the device; they come before the tuning's
	Weight  weights.DType   // storage of base weights
	Act     weights.DType   // storage of matrix inputs, the KV cache and adapters

	device *vk.Device
	pipes  map[pipelineKey]*vk.Pipeline
	wanted *[]pipelineKey // where pipelines that are missing are noted, and what is recorded will not run; nil: they are made
}

// NewKernels prepares the kernels of a device for a pair of storage types. It
// refuses pairs for which nothing is compiled.
func NewKernels(device *vk.Device, tuning shaders.Tuning, weight, act weights.DType) (*Kernels, error) {
	if act != weights.F32 && act != weight {
		return nil, fmt.Errorf("no kernels for %s weights with %s activations", weight, act)
	}
	if !device.Info.SubgroupShuffle {
		tuning.PrefillLanes, tuning.GradLanes = 1, 1
	}
	// A subgroup is as small as four lanes on some software devices.
	tuning.GradLanes = min(tuning.GradLanes, uint32(device.Info.SubgroupSize))
	return &Kernels{Tuning: tuning, Weight: weight, Act: act, device: device, pipes: map[pipelineKey]*vk.Pipeline{}}, nil
}

// Offers tells whether a device has what a kernel needs beyond the baseline.
func Offers(info vk.Info, n shaders.Needs) bool {
	none := vk.Shape{}
	return (info.SubgroupShuffle || !n.SubgroupShuffle) && (info.SubgroupArithmetic || !n.SubgroupArithmetic) &&
		(info.MatrixF16 != none || !n.MatrixF16) && (info.MatrixBF16 != none || !n.MatrixBF16) && (info.CooperativeMatrix2 || !n.Matrix2)
}

// pipelineKey tells the specializations of the kernels apart.
type pipelineKey struct {
	name      string
	count     int
	constants [maxConstants]uint32
}

const maxConstants = 13

// pipeline makes or finds a kernel with its specialization constants, whose
// ids count from 0.
func (k *Kernels) pipeline(name string, constants ...uint32) (*vk.Pipeline, error) {
	key := pipelineKey{name: name, count: len(constants)}
	if copy(key.constants[:], constants) < len(constants) {
		return nil, fmt.Errorf("BUG: %s has %d constants", name, len(constants))
	}
	if p := k.pipes[key]; p != nil {
		return p, nil
	}
	if k.wanted != nil {
		*k.wanted = append(*k.wanted, key)
		return &vk.Pipeline{Name: name}, nil
	}
	p, err := k.compile(key)
	if err != nil {
		return nil, err
	}
	k.pipes[key] = p
	return p, nil
}

// compile makes a pipeline; it may run beside others.
func (k *Kernels) compile(key pipelineKey) (*vk.Pipeline, error) {
	code, err := shaders.SPIRV(key.name)
	if err != nil {
		return nil, err
	}
	specialized := make([]vk.Constant, key.count)
	for i, v := range key.constants[:key.count] {
		specialized[i] = vk.Constant{ID: uint32(i), Value: v}
	}
	return k.device.NewPipeline(key.name, code, specialized)
}

// compileAll makes pipelines side by side, one for each processor at a time, until
// the time is over, if there is one. A pipeline that the device does not take stays away. progress
// is called from one goroutine at a time; it may be nil.
func (k *Kernels) compileAll(keys []pipelineKey, until time.Time, progress func(done, total int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	var mu sync.Mutex
	done, made := 0, map[pipelineKey]*vk.Pipeline{}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for until.IsZero() || time.Now().Before(until) {
				i := int(next.Add(1)) - 1
				if i >= len(keys) {
					return
				}
				p, err := k.compile(keys[i])
				mu.Lock()
				if done++; err == nil {
					made[keys[i]] = p
				}
				if progress != nil {
					progress(done, len(keys))
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	maps.Copy(k.pipes, made)
}

// byAct is the module of a kernel that is compiled for each activation type.
func (k *Kernels) byAct(stem string) string { return stem + "-" + storageName(k.Act) }

// byPair is the module of one that is compiled for each pair of types.
func (k *Kernels) byPair(stem string) string {
	return stem + "-" + storageName(k.Weight) + "-" + storageName(k.Act)
}

// storageName is a type's name in the kernel table.
func storageName(t weights.DType) string { return strings.ToLower(t.String()) }

// field is one buffer argument of an op with the bytes the kernel will touch.
type field struct {
	name string
	have vk.Range
	need int
}

// require is the bounds check that device addresses lack.
func require(op string, fields ...field) error {
	for _, f := range fields {
		if f.need < 0 || f.have.Size < uint64(f.need) {
			return fmt.Errorf("BUG: %s: %s has %d bytes, needs %d", op, f.name, f.have.Size, f.need)
		}
		if f.need > 0 && f.have.Address%16 != 0 {
			return fmt.Errorf("BUG: %s: %s at %#x is not aligned to 16 bytes", op, f.name, f.have.Address)
		}
	}
	return nil
}

// positive and quads check dimensions.
func positive(op string, dims ...int) error {
	for _, d := range dims {
		if d <= 0 {
			return fmt.Errorf("BUG: %s: dimensions %v", op, dims)
		}
	}
	return nil
}

func quads(op string, dims ...int) error {
	for _, d := range dims {
		if d%4 != 0 {
			return fmt.Errorf("BUG: %s: %d is not a multiple of 4", op, d)
		}
	}
	return positive(op, dims...)
}

// grid spreads a number of workgroups over two dimensions, as kernels that
// flatten their workgroup number expect; a device takes 65535 in each.
func grid(n int) [3]uint32 {
	const most = 65535
	x := min(n, most)
	return [3]uint32{uint32(x), uint32(ceil(n, x)), 1}
}

func ceil(a, b int) int { return (a + b - 1) / b }

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// orElse is the address of a range, or, where that is null, of something else: newer
// llvmpipes load in branches that no invocation takes.
func orElse(r, other vk.Range) uint64 {
	if r.Size == 0 {
		return other.Address
	}
	return r.Address
}

// present drops the null ranges among an op's operands.
func present(ranges ...vk.Range) []vk.Range {
	return slices.DeleteFunc(ranges, func(r vk.Range) bool { return r.Size == 0 })
}
