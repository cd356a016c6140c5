package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"loquetier/engine/weights"
	"loquetier/virtualmod"
)

func adapterCommand() *cli.Command {
	return &cli.Command{
		Name: "adapter", Usage: "look at adapters",
		Description: "loquetier adapter info stories/upper",
		Subcommands: []*cli.Command{{
			Name: "info", Usage: "describe an adapter", ArgsUsage: "DIR",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "model", Usage: "also check that it fits the model in `DIR`"},
				&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print a JSON object"},
			},
			Description: `loquetier adapter info stories/upper --json
loquetier adapter info DIR --model DIR`,
			Action: adapterInfo,
		}},
	}
}

// adapterSummary is an adapter as `adapter info --json` tells it.
type adapterSummary struct {
	Name       string    `json:"name"`
	Base       string    `json:"base_model"`
	Ranks      []int     `json:"ranks"`
	Alphas     []float64 `json:"alphas"`
	Scales     []float64 `json:"scales"`
	Targets    []string  `json:"target_modules"`
	Layers     int       `json:"layers"`
	Modules    int       `json:"modules"`
	Parameters int       `json:"parameters"`
	Bytes      int       `json:"bytes"`
	RSLoRA     bool      `json:"rslora"`
	DoRA       bool      `json:"dora"`
	Fits       string    `json:"fits,omitempty"` // the model it was checked against
}

func adapterInfo(c *cli.Context) error {
	dir := c.Args().First()
	switch {
	case dir == "":
		return usagef("the adapter's folder is missing: run '%s --help'", c.Command.HelpName)
	case c.Args().Len() > 1:
		return usagef("unexpected argument %q: run '%s --help'", c.Args().Get(1), c.Command.HelpName)
	}
	summary, err := summarize(dir, c.String("model"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(summary)
	}
	return writeAdapter(c.App.Writer, summary)
}

// summarize reads an adapter, and checks it against a model if one is given.
func summarize(dir, model string) (out adapterSummary, err error) {
	err = withAdapter(dir, func(folder weights.Folder) error {
		adapter, err := readAdapter(folder, model)
		if err != nil {
			return err
		}
		i := adapter.Info()
		out = adapterSummary{
			Name: i.Name, Base: i.Base, Ranks: i.Ranks, Alphas: i.Alphas, Scales: i.Scales, Targets: i.Kinds, Layers: i.Layers,
			Modules: i.Modules, Parameters: i.Parameters, Bytes: i.Bytes, RSLoRA: i.RSLoRA, DoRA: i.DoRA, Fits: model,
		}
		return nil
	})
	return out, err
}

func readAdapter(folder weights.Folder, model string) (*virtualmod.Adapter, error) {
	if model == "" {
		return virtualmod.InspectPEFT(folder)
	}
	base, err := openModel(model)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	config, err := weights.ReadConfig(base)
	if err != nil {
		return nil, fmt.Errorf("read model %s: %w", model, err)
	}
	return virtualmod.ReadPEFT(folder, config)
}

func writeAdapter(w io.Writer, a adapterSummary) error {
	kind := "LoRA"
	if a.DoRA {
		kind = "DoRA"
	}
	if a.RSLoRA {
		kind += ", rank-stabilized"
	}
	rows := [][2]string{
		{"name", a.Name}, {"kind", kind}, {"base model", a.Base}, {"rank", list(a.Ranks)}, {"alpha", list(a.Alphas)}, {"scale", list(a.Scales)},
		{"modules", fmt.Sprintf("%s in %d layers, %d in all", strings.Join(a.Targets, ", "), a.Layers, a.Modules)},
		{"parameters", fmt.Sprint(a.Parameters)}, {"bytes", fmt.Sprint(a.Bytes)},
	}
	if a.Fits != "" {
		rows = append(rows, [2]string{"fits", a.Fits})
	}
	return writeRows(w, rows)
}

// writeRows writes names with their values.
func writeRows(w io.Writer, rows [][2]string) error {
	for _, row := range rows {
		if _, err := fmt.Fprintf(w, "%-11s %s\n", row[0], row[1]); err != nil {
			return err
		}
	}
	return nil
}

// list writes numbers separated by commas.
func list[T int | float64](values []T) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprint(v)
	}
	return strings.Join(out, ", ")
}
