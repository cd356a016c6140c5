package shaders

import (
	"embed"
	"fmt"
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
