package shaders

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"slices"
)

// The folder rather than spv/*.spv: the generator imports this package, and a
// pattern that matches no file would not let it build before its first run.
//
//go:embed spv
var spv embed.FS

// SPIRV returns the compiled module of the kernel with the given Name, as
// SPIR-V words in little-endian order, and an error if none is embedded.
func SPIRV(name string) ([]byte, error) {
	code, err := spv.ReadFile("spv/" + name + ".spv")
	if err != nil {
		return nil, fmt.Errorf("shader module %q is not embedded (run `make shaders`): %w", name, err)
	}
	return code, nil
}

// Sum is a hash of the modules of some ops and of whatever else a measurement of them
// depends on.
func Sum(ops []string, more any) (string, error) {
	h := sha256.New()
	for _, k := range Kernels() {
		if !slices.Contains(ops, k.Op) {
			continue
		}
		code, err := SPIRV(k.Name())
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d ", k.Name(), len(code))
		h.Write(code)
	}
	fmt.Fprintf(h, "%+v", more)
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
