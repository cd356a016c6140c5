// Command gen compiles every row of the kernel table to shaders/spv. Run it in
// the repository's root:
//
//	go run ./shaders/gen          writes shaders/spv
//	go run ./shaders/gen -check   fails if shaders/spv is not what it would write
//
// The compiler is the pinned one that scripts/glslang.sh unpacks, so that the
// same sources give the same bytes on every developer's machine.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"loquetier/shaders"
)

func main() {
	check := flag.Bool("check", false, "compare shaders/spv with what would be generated; write nothing")
	tools := flag.String("tools", "", "folder with glslang and spirv-val (default: what scripts/glslang.sh prints)")
	flag.Parse()
	if err := run("shaders", *tools, *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run compiles the kernels whose sources are in the folder dir and compares
// them with dir/spv or writes them there.
func run(dir, tools string, check bool) error {
	if tools == "" {
		var err error
		if tools, err = pinnedTools(); err != nil {
			return err
		}
	}
	files, err := generate(compiler{tools: tools, sources: dir}, shaders.Kernels())
	if err != nil {
		return err
	}
	if check {
		return files.check(filepath.Join(dir, "spv"))
	}
	return files.write(filepath.Join(dir, "spv"))
}

// pinnedTools returns the folder of the project's shader compiler.
func pinnedTools() (string, error) {
	script := exec.Command("scripts/glslang.sh")
	script.Stderr = os.Stderr
	out, err := script.Output()
	if err != nil {
		return "", fmt.Errorf("run scripts/glslang.sh: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
