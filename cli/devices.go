package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/engine/vk"
)

// deviceInfo is a Vulkan device as `devices --json` tells it.
type deviceInfo struct {
	Index      int      `json:"index"`
	Name       string   `json:"name"`
	Vendor     string   `json:"vendor"`
	Type       string   `json:"type"`
	Driver     string   `json:"driver"`
	Vulkan     string   `json:"vulkan"`
	Memory     uint64   `json:"memory_bytes"`
	FreeMemory uint64   `json:"free_memory_bytes"`
	Subgroup   int      `json:"subgroup_size"`
	Features   []string `json:"features"`
	Family     string   `json:"kernel_family"`
	Unusable   string   `json:"unusable,omitempty"` // why the device cannot be used
}

func devicesCommand() *cli.Command {
	return &cli.Command{
		Name: "devices", Usage: "list the Vulkan devices",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print a JSON array"}},
		Description: "loquetier devices --json",
		Action:      devices,
	}
}

func devices(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	found, err := engine.Devices()
	if err != nil {
		return err
	}
	list := make([]deviceInfo, len(found))
	for i, d := range found {
		list[i] = describeDevice(d)
	}
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(list)
	}
	return writeDevices(c.App.Writer, list)
}

func describeDevice(d vk.Info) deviceInfo {
	out := deviceInfo{
		Index: d.Index, Name: d.Name, Vendor: d.Vendor, Type: d.Type.String(), Driver: strings.TrimSpace(d.Driver), Vulkan: d.Version(),
		Memory: d.Memory, FreeMemory: d.FreeMemory, Subgroup: d.SubgroupSize, Features: deviceFeatures(d), Family: engine.FamilyFor(d),
	}
	if err := d.Baseline(); err != nil {
		out.Unusable, out.Family = oneLine(err), ""
	}
	return out
}

// deviceFeatures names the features that make a difference in speed.
func deviceFeatures(d vk.Info) []string {
	features := []string{}
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"subgroup-arithmetic", d.SubgroupArithmetic}, {"float16", d.Float16}, {"storage16", d.Storage16}, {"bfloat16", d.BFloat16},
		{"cooperative-matrix", d.MatrixF16 != vk.Shape{}}, {"cooperative-matrix-2", d.CooperativeMatrix2},
	} {
		if f.has {
			features = append(features, f.name)
		}
	}
	return features
}

func writeDevices(w io.Writer, list []deviceInfo) error {
	t := newTable(text.AlignLeft, "", "device", "vendor", "type", "driver", "Vulkan", "memory", "features", "kernels")
	for _, d := range list {
		kernels := d.Family
		if d.Unusable != "" {
			kernels = "cannot be used: " + d.Unusable
		}
		t.AppendRow(table.Row{
			d.Index, d.Name, d.Vendor, d.Type, d.Driver, d.Vulkan,
			fmt.Sprintf("%.1f GiB", float64(d.Memory)/(1<<30)), strings.Join(d.Features, " "), kernels,
		})
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}
