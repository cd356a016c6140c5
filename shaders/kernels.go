// Package shaders holds Loquetier's compute kernels: GLSL sources, the table of
// what is compiled from them, and the SPIR-V that `make shaders` generated.
package shaders

import "strings"

// A Kernel is one compiled module: a GLSL source with a set of definitions.
// Tile and workgroup sizes are specialization constants and so are not part of
// it; see Tunings.
type Kernel struct {
	Op      string   // names <op>.comp, ref/<op>.go, engine/op_<op>.go and shaders_test/<op>_test.go
	Variant string   // tells the modules of one op apart; "" where there is only one
	Defines []string // NAME=VALUE, passed to the compiler with -D
	Needs   Needs    // what a device must offer beyond the baseline
}

// Needs lists the abilities beyond the Vulkan 1.2 baseline with buffer device
// addresses that a kernel uses.
type Needs struct {
	SubgroupArithmetic bool
	SubgroupShuffle    bool
}

// Name is the module's name: its file is spv/<name>.spv.
func (k Kernel) Name() string {
	if k.Variant == "" {
		return k.Op
	}
	return k.Op + "-" + k.Variant
}

// Source is the name of the kernel's GLSL file.
func (k Kernel) Source() string { return strings.ReplaceAll(k.Op, "-", "_") + ".comp" }
