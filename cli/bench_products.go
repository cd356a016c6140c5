package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
)

func benchProductsCommand() *cli.Command {
	return &cli.Command{
		Name: "products", Usage: "measure the kernels that products can take, and keep which is the fastest for what --probe auto uses",
		Flags:       []cli.Flag{deviceFlag(), dtypeFlag()},
		Description: "loquetier bench products --dtype bf16",
		Action:      benchProducts,
	}
}

func benchProducts(c *cli.Context) (err error) {
	if err := firstError(noArguments(c), checkType(c.String("dtype"))); err != nil {
		return err
	}
	device, err := engine.OpenDevice(c.String("device"))
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, device.Close()) }()
	bar := newProgress(c.App.ErrWriter, "measuring")
	trials, err := engine.ProbeDevice(device, c.String("dtype"), cacheFolder(), bar.count)
	bar.finish()
	if err != nil {
		return err
	}
	return writeTrials(c.App.Writer, trials)
}

// writeTrials prints each way of each class; chosen is 1 for those that are used.
func writeTrials(w io.Writer, trials []engine.Trial) error {
	for _, t := range trials {
		op, chosen := "linear", 0
		if t.Grad {
			op = "linear_grad"
		}
		if t.Chosen {
			chosen = 1
		}
		_, err := fmt.Fprintf(w, "BenchmarkProduct/op=%s/rows=%d/in=%d/out=%d/gated=%t/adapters=%t/way=%s%s\t1\t%d ns/op\t%.0f GB/s\t%.1f TFLOP/s\t%d chosen\n",
			op, t.Rows, t.In, t.Out, t.Gated, t.Adapters, t.Way, processors(), t.Time.Nanoseconds(),
			t.Work.Bytes/float64(max(t.Time, 1)), t.Work.Flops/float64(max(t.Time, 1))/1e3, chosen)
		if err != nil {
			return err
		}
	}
	return nil
}

// cacheFolder is where measurements are kept between runs; "" where the system
// has no place for that.
func cacheFolder() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "loquetier")
}
