package weights

// A DType is the storage type of a tensor's elements. The zero value is no
// type: it stands where a file does not say.
type DType uint8

const (
	F32  DType = iota + 1 // IEEE 754 binary32
	F16                   // IEEE 754 binary16
	BF16                  // the upper half of a binary32
)

// Size is the number of bytes of one element, 0 for no type.
func (d DType) Size() int {
	switch d {
	case F32:
		return 4
	case F16, BF16:
		return 2
	}
	return 0
}

// String is the type's name as safetensors files write it.
func (d DType) String() string {
	switch d {
	case F32:
		return "F32"
	case F16:
		return "F16"
	case BF16:
		return "BF16"
	}
	return "none"
}

// supported lists the names of the types for error messages.
const supported = "F32, F16 and BF16"

// dtypeNamed is the type a safetensors header calls name, or no type.
func dtypeNamed(name string) DType {
	for _, d := range []DType{F32, F16, BF16} {
		if d.String() == name {
			return d
		}
	}
	return 0
}
