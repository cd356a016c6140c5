package ref

import "slices"

// Base is the slot of a row without an adapter.
const Base = -1

// An Adapter is one adapter in one module. The zero value leaves the module alone.
type Adapter struct {
	A     []float32 // [Rank, in]
	B     []float32 // [out, Rank]
	Rank  int
	Scale float32
	Gain  []float32 // DoRA: [out]; nil without
}

// A Module is one matrix of a product.
type Module struct {
	W        []float32 // [Out, in]
	Bias     []float32 // [Out] or nil
	Out      int
	Adapters []Adapter // by slot
}

// Epilogue is what a product does with its sums.
type Epilogue int

// Epilogues.
const (
	Plain  Epilogue = iota // y = sums
	Add                    // y += sums
	SwiGLU                 // y = SiLU(module 0) * module 1 (Shazeer 2020)
)

// Linear is the product of the modules with rows of X, with LoRA (Hu et al.
// 2021) and DoRA (Liu et al. 2024):
//
//	y = gain * (W x + B v) + bias
//
// where v is what Shrink left.
type Linear struct {
	Modules  []Module
	In       int
	X        []float32 // [rows, In]
	Slots    []int32   // [rows]; nil: no row has an adapter
	V        []float32 // [rows, modules, Stride]
	Stride   int
	Epilogue Epilogue
	Y        []float32 // what Add adds to
}

// Run returns Y: the modules side by side in each row, or with SwiGLU one.
func (l Linear) Run() []float64 {
	var y []float64
	for row := range len(l.X) / l.In {
		sums := make([][]float64, len(l.Modules))
		for m := range l.Modules {
			sums[m] = l.sums(row, m)
		}
		if l.Epilogue == SwiGLU {
			for i, gate := range sums[0] {
				y = append(y, SiLU(gate)*sums[1][i])
			}
			continue
		}
		y = append(y, slices.Concat(sums...)...)
	}
	if l.Epilogue == Add {
		for i := range y {
			y[i] += float64(l.Y[i])
		}
	}
	return y
}

// sums is one module's output for one row.
func (l Linear) sums(row, module int) []float64 {
	m := l.Modules[module]
	var a Adapter
	if l.Slots != nil && l.Slots[row] != Base {
		a = m.Adapters[l.Slots[row]]
	}
	out := make([]float64, m.Out)
	for n := range out {
		out[n] = dot(l.X[row*l.In:][:l.In], m.W[n*l.In:][:l.In])
		if a.B != nil {
			v := l.V[(row*len(l.Modules)+module)*l.Stride:][:a.Rank]
			out[n] += dot(v, a.B[n*a.Rank:][:a.Rank])
		}
		if a.Gain != nil {
			out[n] *= float64(a.Gain[n])
		}
		if m.Bias != nil {
			out[n] += float64(m.Bias[n])
		}
	}
	return out
}
