package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The pinned compiler does not know GL_EXT_bfloat16. In a kernel whose 16-bit
// floats are only the components of cooperative matrices, the type is declared
// once, so such a kernel is compiled for float16 and the declaration changed.

// Numbers of the SPIR-V specification and of SPV_KHR_bfloat16.
const (
	headerWords = 5
	wordSize    = 4
	countShift  = 16
	opcodeMask  = 0xffff

	opExtension  = 10
	opCapability = 17
	opTypeFloat  = 22
	opConstant   = 43

	capabilityFloat16        = 9
	capabilityBFloat16       = 5116
	capabilityBFloat16Matrix = 5118

	halfWidth        = 16
	encodingBFloat16 = 0
)

// toBFloat16 returns the module with bfloat16 in place of float16. It refuses
// modules with constants of the type, whose bits would mean something else.
func toBFloat16(module []byte) ([]byte, error) {
	if len(module) < headerWords*wordSize || len(module)%wordSize != 0 {
		return nil, fmt.Errorf("a module of %d bytes", len(module))
	}
	words := make([]uint32, len(module)/wordSize)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(module[i*wordSize:])
	}
	out := slices.Clone(words[:headerWords])
	half, found := uint32(0), false
	extended := false
	for at := headerWords; at < len(words); {
		n, op := int(words[at]>>countShift), words[at]&opcodeMask
		if n == 0 || at+n > len(words) {
			return nil, fmt.Errorf("an instruction of %d words at word %d of %d", n, at, len(words))
		}
		instruction := words[at : at+n]
		at += n
		if op != opCapability && !extended { // extensions follow the capabilities
			out, extended = append(out, extension("SPV_KHR_bfloat16")...), true
		}
		switch {
		case op == opCapability && instruction[1] == capabilityFloat16:
			out = append(out, 2<<countShift|opCapability, capabilityBFloat16, 2<<countShift|opCapability, capabilityBFloat16Matrix)
		case op == opTypeFloat && instruction[2] == halfWidth:
			half, found = instruction[1], true
			out = append(out, 4<<countShift|opTypeFloat, half, halfWidth, encodingBFloat16)
		case op == opConstant && found && instruction[1] == half:
			return nil, errors.New("a constant of the 16-bit float type")
		default:
			out = append(out, instruction...)
		}
	}
	if !found {
		return nil, errors.New("no 16-bit float type")
	}
	bytes := make([]byte, 0, len(out)*wordSize)
	for _, w := range out {
		bytes = binary.LittleEndian.AppendUint32(bytes, w)
	}
	return bytes, nil
}

// extension is an OpExtension.
func extension(name string) []uint32 {
	text := append([]byte(name), 0)
	for len(text)%wordSize != 0 {
		text = append(text, 0)
	}
	words := []uint32{uint32(1+len(text)/wordSize)<<countShift | opExtension}
	for i := 0; i < len(text); i += wordSize {
		words = append(words, binary.LittleEndian.Uint32(text[i:]))
	}
	return words
}
