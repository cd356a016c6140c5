// Package shaders holds Loquetier's compute kernels: GLSL sources, the table of
// what is compiled from them, and the SPIR-V that `make shaders` generated.
package shaders

import (
	"slices"
	"strings"
)

// A Kernel is one compiled module: a GLSL source with a set of definitions.
// Tile and workgroup sizes are specialization constants and so are not part of
// it; see Tunings.
type Kernel struct {
	Op       string   // names ref/<op>.go and, with the family, <op>_<family>.comp, engine/op_<op>_<family>.go and shaders_test/<op>_<family>_test.go
	Family   string   // another way to compute the op, for devices or sizes that it suits; "" for the one that runs everywhere
	Variant  string   // tells the modules of one op apart; "" where there is only one
	Defines  []string // passed to the compiler with -D
	Needs    Needs    // what a device must offer beyond the baseline
	BFloat16 bool     // compiled for float16, which then becomes bfloat16; see shaders/gen
}

// Needs lists the abilities beyond the Vulkan 1.2 baseline with buffer device
// addresses that a kernel uses.
type Needs struct {
	SubgroupShuffle    bool
	SubgroupArithmetic bool
	MatrixF16          bool // a subgroup's cooperative matrices of float16, with float32 sums
	MatrixBF16         bool // the same of bfloat16
	Matrix2            bool // a workgroup's cooperative matrices, as NVIDIA's second extension has them
}

// Name is the module's name: its file is spv/<name>.spv.
func (k Kernel) Name() string {
	if k.Variant == "" {
		return k.Stem()
	}
	return k.Stem() + "-" + k.Variant
}

// Stem is what the files of the kernel are called, its oracle's apart.
func (k Kernel) Stem() string {
	if k.Family == "" {
		return k.Op
	}
	return k.Op + "_" + k.Family
}

// Source is the name of the kernel's GLSL file.
func (k Kernel) Source() string { return k.Stem() + ".comp" }

// Storage types of base weights and of activations, in the kernels' own words.
var storages = []string{"f32", "f16", "bf16"}

// Kernels is the table of everything that is compiled. The generator, the
// loader and the tests walk it.
func Kernels() []Kernel {
	table := []Kernel{{Op: "sample"}, {Op: "grad_norm"}, {Op: "stream"}, {Op: "gather"}}
	for _, act := range storages {
		table = append(table,
			Kernel{Op: "random", Variant: act, Defines: acts(act)},
			Kernel{Op: "shrink", Variant: act, Defines: acts(act)},
			Kernel{Op: "shrink", Family: "tall", Variant: act, Defines: acts(act)},
			Kernel{Op: "shrink_grad", Variant: act, Defines: acts(act)},
			Kernel{Op: "shrink_grad", Family: "tall", Variant: act, Defines: acts(act)},
			Kernel{Op: "lora_grad", Variant: act, Defines: acts(act)},
			Kernel{Op: "silu_grad", Variant: act, Defines: acts(act)},
			Kernel{Op: "norm_grad", Variant: act, Defines: acts(act)},
			Kernel{Op: "rope_grad", Variant: act, Defines: acts(act)},
			Kernel{Op: "cross_entropy", Variant: act, Defines: acts(act)},
			Kernel{Op: "optimizer", Variant: act, Defines: acts(act)},
			Kernel{Op: "shrink", Family: "vector", Variant: act, Defines: acts(act), Needs: Needs{SubgroupArithmetic: true}},
			Kernel{Op: "norm", Variant: act, Defines: acts(act)},
			Kernel{Op: "norm", Family: "vector", Variant: act, Defines: acts(act), Needs: Needs{SubgroupArithmetic: true}},
			Kernel{Op: "rope", Variant: act, Defines: acts(act)},
			Kernel{Op: "attention_decode", Variant: act, Defines: acts(act)},
			Kernel{Op: "attention_decode", Family: "subgroup", Variant: act, Defines: acts(act), Needs: Needs{SubgroupShuffle: true}},
			Kernel{Op: "attention_prefill", Variant: act, Defines: acts(act)},
			Kernel{Op: "attention_prefill", Variant: act + "-split", Defines: append(acts(act), "SPLIT_HEAD"), Needs: Needs{SubgroupShuffle: true}},
			Kernel{Op: "attention_grad_q", Variant: act, Defines: acts(act)},
			Kernel{Op: "attention_grad_q", Variant: act + "-split", Defines: append(acts(act), "SPLIT_HEAD"), Needs: Needs{SubgroupShuffle: true}},
			Kernel{Op: "attention_grad_kv", Variant: act, Defines: acts(act)},
			Kernel{Op: "attention_grad_kv", Variant: act + "-split", Defines: append(acts(act), "SPLIT_HEAD"), Needs: Needs{SubgroupShuffle: true}},
		)
	}
	for _, act := range storages[1:] {
		both := append(weights(act), acts(act)...)
		table = append(table,
			onMatrices(Kernel{Op: "linear", Family: "matrix", Variant: act, Defines: both}),
			onMatrices(Kernel{Op: "linear", Family: "few", Variant: act, Defines: both}),
			onMatrices(Kernel{Op: "linear_grad", Family: "matrix", Variant: act, Defines: both}),
			onMatrices(Kernel{Op: "linear_grad", Family: "matrix2", Variant: act, Defines: both}),
			onMatrices(Kernel{Op: "linear", Family: "matrix2", Variant: act, Defines: both}),
			onMatrices(Kernel{Op: "linear", Family: "matrix2", Variant: act + "-gated", Defines: append(slices.Clone(both), "GATED")}),
		)
	}
	for _, op := range []string{"attention_prefill", "attention_grad_q", "attention_grad_kv"} {
		table = append(table, attentionMatrix(op)...)
	}
	for _, act := range storages[1:] {
		table = append(table,
			onMatrices(Kernel{Op: "shrink", Family: "matrix", Variant: act, Defines: acts(act)}),
			onMatrices(Kernel{Op: "shrink_grad", Family: "matrix", Variant: act, Defines: acts(act)}),
			onMatrices(Kernel{Op: "lora_grad", Family: "matrix", Variant: act, Defines: acts(act)}),
		)
	}
	for _, weight := range storages {
		table = append(table, Kernel{Op: "embed", Variant: weight, Defines: weights(weight)})
		for _, act := range storages {
			// 16-bit inputs go with weights of the same type: anything else
			// would round one of the two for nothing.
			if act != "f32" && act != weight {
				continue
			}
			both := append(weights(weight), acts(act)...)
			table = append(table,
				Kernel{Op: "linear", Variant: weight + "-" + act, Defines: both},
				Kernel{Op: "linear", Family: "vector", Variant: weight + "-" + act, Defines: both, Needs: Needs{SubgroupArithmetic: true}},
				Kernel{Op: "linear_grad", Variant: weight + "-" + act, Defines: both},
				Kernel{Op: "dora", Variant: weight + "-" + act, Defines: both},
			)
		}
	}
	return table
}

// onMatrices completes the row of a kernel whose variant begins with a 16-bit
// type and that multiplies cooperative matrices of it.
func onMatrices(k Kernel) Kernel {
	k.BFloat16 = strings.HasPrefix(k.Variant, "bf16")
	k.Needs.Matrix2 = k.Family == "matrix2"
	k.Needs.MatrixF16, k.Needs.MatrixBF16 = !k.BFloat16, k.BFloat16
	return k
}

// attentionMatrix are an op of attention over cooperative matrices of each type:
// with scores that pass through shared memory, and with scores that stay in registers.
func attentionMatrix(op string) []Kernel {
	var table []Kernel
	for _, act := range storages[1:] {
		k := onMatrices(Kernel{Op: op, Family: "matrix", Variant: act, Defines: acts(act), Needs: Needs{SubgroupShuffle: true}})
		table = append(table, k)
		k.Variant, k.Defines, k.Needs.Matrix2 = act+"-registers", append(acts(act), "REGISTERS"), true
		table = append(table, k)
	}
	return table
}

func weights(t string) []string { return []string{"WEIGHT_" + strings.ToUpper(t)} }
func acts(t string) []string    { return []string{"ACT_" + strings.ToUpper(t)} }
