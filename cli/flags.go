package cli

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// Limits on sizes asked for on the command line, far above any use: what fits
// the device is the engine's to say.
const (
	maxTokens = 1 << 28
	maxSlots  = 1 << 12
)

// modelOptions says which model to load, and how.
type modelOptions struct {
	model         string
	shape         string // instead of a model: random weights of this shape
	adapters      []adapterOption
	layers        int // of the shape; 0: all
	device, dtype string
	family, probe string
	context       int   // 0: what the model was made for
	cacheTokens   int   // 0: the engine's choice
	slots         int   // 0: the engine's choice, or more where there are more adapters
	trainRows     int   // most training rows of a step; 0: nothing is trained
	ranks         []int // of adapters that are still to come, as far as they are known
	maxRows       int   // 0: the engine's choice
	recompute     engine.Recompute
	piece         int   // bytes of an adapter that are copied between two steps; 0: the engine's default
	reserve       int64 // bytes of device memory that jobs will take
	profile       bool
	stamps        bool // time each kernel without printing the profile
	limits        limitOptions
	log           logOptions
}

// adapterOption is --adapter NAME=DIR.
type adapterOption struct{ name, dir string }

// deviceFlags are the flags of every command that computes.
func deviceFlags() []cli.Flag {
	return []cli.Flag{
		deviceFlag(), dtypeFlag(),
		&cli.IntFlag{Name: "context", DefaultText: "what the model was made for", Usage: "longest sequence, `N` tokens"},
		&cli.IntFlag{Name: "cache-tokens", DefaultText: "eight whole contexts, at most 32768", Usage: "room of the KV cache, `N` tokens"},
		&cli.IntFlag{Name: "slots", DefaultText: "32", Usage: "room for `N` adapters on the device; others wait in host memory"},
		&cli.StringFlag{Name: "probe", Value: "auto", Usage: "`WHEN` to measure which kernels are the fastest for products: auto (on a GPU, once), off, or again"},
		&cli.BoolFlag{Name: "profile", DisableDefaultText: true, Usage: "print the time of each kernel at the end"},
		&cli.StringFlag{Name: "family", Usage: "force a kernel `FAMILY`", Hidden: true},
		&cli.StringFlag{Name: "log-level", Value: "warn", Usage: "`LEVEL`: debug, info, warn or error"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT`: text or json"},
	}
}

func deviceFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "device", EnvVars: []string{"LOQUETIER_DEVICE"},
		Usage: "`DEVICE`: index, part of the name, or cpu for a software device (default: the best)",
	}
}

func dtypeFlag() cli.Flag {
	return &cli.StringFlag{Name: "dtype", Value: "auto", Usage: "compute `TYPE` of matrix inputs: auto, f32, f16 or bf16"}
}

// modelFlags are deviceFlags and the model with its adapters.
func modelFlags(more ...cli.Flag) []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "model", Usage: "`DIR` of the model in Hugging Face's layout, or stories for the embedded one"},
		&cli.StringSliceFlag{Name: "adapter", KeepSpace: true, Usage: "`NAME=DIR` of an adapter in PEFT's layout, or NAME=stories/upper and the like; repeatable"},
	}
	return slices.Concat(flags, more, deviceFlags())
}

func useFlag() cli.Flag {
	return &cli.StringFlag{Name: "use", Usage: "`NAME` of the adapter to answer with (default: the base alone)"}
}

// modelOptionsOf reads modelFlags.
func modelOptionsOf(c *cli.Context) (modelOptions, error) {
	o := modelOptions{
		model: c.String("model"), device: c.String("device"), dtype: c.String("dtype"), family: c.String("family"), probe: c.String("probe"),
		shape: c.String("shape"), layers: c.Int("layers"), context: c.Int("context"), cacheTokens: c.Int("cache-tokens"), slots: c.Int("slots"), profile: c.Bool("profile"),
		log: logOptions{c.String("log-level"), c.String("log-format")},
	}
	var err error
	if o.limits, err = limitsOf(c); err != nil {
		return o, err
	}
	switch {
	case o.shape != "":
		if err := o.checkShape(); err != nil {
			return o, err
		}
	case o.model == "":
		return o, missing(c, "model")
	case c.IsSet("layers"):
		return o, usagef("--layers is for --shape")
	}
	for _, text := range c.StringSlice("adapter") {
		a, err := parseAdapter(text)
		if err != nil {
			return o, err
		}
		if slices.ContainsFunc(o.adapters, func(other adapterOption) bool { return other.name == a.name }) {
			return o, usagef("--adapter %q: the name %s is taken by another: choose a name by NAME=DIR", text, a.name)
		}
		o.adapters = append(o.adapters, a)
	}
	return o, o.check(c)
}

// checkShape refuses what does not go with random weights.
func (o modelOptions) checkShape() error {
	if o.model != "" {
		return usagef("--model and --shape exclude each other")
	}
	config, ok := weights.Shape(o.shape)
	if !ok {
		return usagef("--shape %q: known are %s", o.shape, strings.Join(weights.Shapes(), ", "))
	}
	if o.layers < 0 || o.layers > config.Layers {
		return usagef("--layers %d: shape %s has %d", o.layers, o.shape, config.Layers)
	}
	return nil
}

// name is the model's in messages.
func (o modelOptions) name() string {
	if o.shape != "" {
		return o.shape
	}
	return o.model
}

func (o modelOptions) check(c *cli.Context) error {
	if _, ok := probingOf(o.probe); !ok {
		return usagef("--probe %q: known are auto, off, again", o.probe)
	}
	if err := checkType(o.dtype); err != nil {
		return err
	}
	for _, f := range []struct {
		name        string
		value, most int
	}{{"context", o.context, maxTokens}, {"cache-tokens", o.cacheTokens, maxTokens}, {"slots", o.slots, maxSlots}} {
		if c.IsSet(f.name) && (f.value < 1 || f.value > f.most) {
			return usagef("--%s %d: it takes 1 to %d", f.name, f.value, f.most)
		}
	}
	return o.log.check()
}

// probingOf reads --probe; commands without the flag probe once.
func probingOf(name string) (p engine.Probing, ok bool) {
	switch name {
	case "", "auto":
		return engine.ProbeOnce, true
	case "off":
		return engine.ProbeNever, true
	case "again":
		return engine.ProbeAgain, true
	}
	return 0, false
}

func checkType(name string) error {
	if types := []string{"auto", "f32", "f16", "bf16"}; !slices.Contains(types, name) {
		return usagef("--dtype %q: known are %s", name, strings.Join(types, ", "))
	}
	return nil
}

// parseAdapter reads NAME=DIR; without a name it is the folder's.
func parseAdapter(text string) (adapterOption, error) {
	name, dir, named := strings.Cut(text, "=")
	if !named {
		name, dir = path.Base(filepath.ToSlash(text)), text
	}
	switch {
	case name == "" || dir == "":
		return adapterOption{}, usagef("--adapter %q: it takes NAME=DIR", text)
	case name == baseName:
		return adapterOption{}, usagef("--adapter %q: the name %s stands for no adapter: choose another", text, baseName)
	}
	return adapterOption{name, dir}, nil
}

// missing is the error of a flag that must be given.
func missing(c *cli.Context, flag string) error {
	return usagef("--%s is missing: run '%s --help'", flag, c.Command.HelpName)
}

// noArguments refuses what stands behind the flags.
func noArguments(c *cli.Context) error {
	if first := c.Args().First(); first != "" {
		return usagef("unexpected argument %q: run '%s --help'", first, c.Command.HelpName)
	}
	return nil
}
