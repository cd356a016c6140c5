// Loquetier serves one large language model with many LoRA adapters on any
// Vulkan device.
package main

import (
	"os"

	"loquetier/cli"
)

func main() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
