package virtualmod

import (
	"math"
	"slices"
	"strings"

	"loquetier/engine"
	"loquetier/engine/weights"
)

// A peftConfig is what adapter_config.json says about the computation.
type peftConfig struct {
	fields  *weights.Fields
	base    string
	rank    int
	alpha   float64
	rslora  bool
	dora    bool
	ranks   []rule    // rank_pattern
	alphas  []rule    // alpha_pattern
	targets *selector // target_modules; nil: not said, the tensors decide
	exclude *selector // exclude_modules; nil: none
	layers  []int     // layers_to_transform; empty: all
}

// unsupportedFields are fields of PEFT's LoraConfig that change what the model
// computes in ways that are not implemented; each must be absent, null, false or
// empty. Fields not listed either are read below or do not matter to the result:
// they describe the training, the start of it, or other software.
var unsupportedFields = []string{
	"alora_invocation_tokens", // active only after certain tokens
	"arrow_config",            // routes tokens among adapters
	"fan_in_fan_out",          // transposed matrices
	"kasa_config",             // cuts singular values off the base
	"layer_replication",       // repeats layers
	"lora_bias",               // a bias in B
	"modules_to_save",         // whole modules replaced
	"monteclora_config",       // random perturbations
	"target_parameters",       // parameters that are not a module's weight
	"trainable_token_indices", // changed rows of the embedding
	"use_bdlora",              // block-diagonal matrices
	"use_qalora",              // pooled inputs
}

// baseChangingInits are the initializations (init_lora_weights) after which the
// base that the adapter belongs to is not the original: they take the start of
// B*A out of it.
var baseChangingInits = []string{"pissa", "corda", "olora", "lora_ga"}

func readPEFTConfig(folder weights.Folder) (*peftConfig, error) {
	f, err := weights.ReadFields(folder, peftConfigFile)
	if err != nil {
		return nil, err
	}
	refuseUnsupported(f)
	c := &peftConfig{
		fields: f,
		base:   f.Text("base_model_name_or_path", ""),
		rank:   f.Int("r", 8, 1, MaxRank), // PEFT's defaults
		alpha:  f.Number("lora_alpha", 8),
		rslora: f.Bool("use_rslora", false),
		dora:   f.Bool("use_dora", false),
		ranks:  readRules(f, "rank_pattern"),
		alphas: readRules(f, "alpha_pattern"),
	}
	c.targets = readSelector(f, "target_modules")
	if f.IsSet("exclude_modules") {
		c.exclude = readSelector(f, "exclude_modules")
	}
	c.layers = f.Ints("layers_to_transform", 1<<16, math.MaxInt32)
	checkRanks(f, c.ranks)
	return c, f.Err()
}

func refuseUnsupported(f *weights.Fields) {
	if kind := f.Text("peft_type", ""); kind != "LORA" {
		f.Fail("peft_type is %s, known is \"LORA\"", f.Show("peft_type"))
	}
	for _, name := range unsupportedFields {
		if f.IsSet(name) {
			f.Fail("%s is %s: this is not supported", name, f.Show(name))
		}
	}
	if f.Text("bias", "none") != "none" {
		f.Fail("bias is %s, known is \"none\"", f.Show("bias"))
	}
	refuseInit(f)
}

func refuseInit(f *weights.Fields) {
	const field = "init_lora_weights"
	raw := f.Raw(field)
	if len(raw) == 0 || raw[0] != '"' {
		return // true or false
	}
	name := strings.ToLower(f.Text(field, ""))
	if slices.ContainsFunc(baseChangingInits, func(p string) bool { return strings.HasPrefix(name, p) }) {
		f.Fail("%s is %s, which changes the base too: convert the adapter to plain LoRA", field, f.Show(field))
	}
}

func checkRanks(f *weights.Fields, rules []rule) {
	for _, r := range rules {
		if r.value != math.Trunc(r.value) || r.value < 1 || r.value > MaxRank {
			f.Fail("rank_pattern: %q has rank %v, want 1 to %d", r.expr.text, r.value, MaxRank)
		}
	}
}

// scale is the rank, alpha and scale of a module by its name.
func (c *peftConfig) scale(module string) (rank int, alpha, scale float64, err error) {
	r, err := lookUp(c.ranks, module, float64(c.rank))
	if err != nil {
		return 0, 0, 0, c.fail(err)
	}
	if alpha, err = lookUp(c.alphas, module, c.alpha); err != nil {
		return 0, 0, 0, c.fail(err)
	}
	return int(r), alpha, loraScale(alpha, int(r), c.rslora), nil
}

// fail names the file of an error.
func (c *peftConfig) fail(err error) error {
	c.fields.Fail("%v", err)
	return c.fields.Err()
}

// checkTargets compares the modules that are there with those the configuration
// asks for. Fewer are fine, since PEFT can leave out layers in ways it does not
// write down, but not one more, and not a name without any.
func (c *peftConfig) checkTargets(modules []Module, base weights.Config) error {
	if c.targets == nil {
		return nil
	}
	served := map[string]bool{}
	for _, m := range modules {
		by, ok, err := c.targetOf(m)
		if err != nil {
			return c.fail(err)
		}
		if !ok {
			c.fields.Fail("%s has tensors of %s, which is not a target: target_modules is %s, exclude_modules is %s, layers_to_transform is %s",
				peftModelFile, m.name(), c.show("target_modules"), c.show("exclude_modules"), c.show("layers_to_transform"))
			return c.fields.Err()
		}
		served[by] = true
	}
	return c.checkServed(served, base)
}

func (c *peftConfig) show(field string) string { return c.fields.Show(field) }

// targetOf finds the entry of target_modules that asks for a module.
func (c *peftConfig) targetOf(m Module) (by string, ok bool, err error) {
	if c.exclude != nil {
		if _, out, err := c.exclude.match(m.name()); out || err != nil {
			return "", false, err
		}
	}
	by, ok, err = c.targets.match(m.name())
	// PEFT does not apply layers_to_transform to modules named in full.
	if ok && len(c.layers) > 0 && by != m.name() {
		ok = slices.Contains(c.layers, m.Layer)
	}
	return by, ok, err
}

// checkServed looks for names in target_modules that no tensor answers to. A
// name whose modules are all excluded needs none; where one module has several
// names, such as q_proj and self_attn.q_proj, its tensors answer to all of them.
func (c *peftConfig) checkServed(served map[string]bool, base weights.Config) error {
	for _, name := range c.targets.names {
		if served[name] {
			continue
		}
		if isEmbedding(strings.Split(name, ".")) {
			c.fields.Fail("target_modules names %q: adapters of embed_tokens and lm_head are not supported", name)
			break
		}
		wanted, err := c.wanted(name, served, base)
		if err != nil {
			return c.fail(err)
		}
		if wanted {
			c.fields.Fail("target_modules names %q, but %s has no tensors of it", name, peftModelFile)
			break
		}
	}
	return c.fields.Err()
}

// wanted says whether a name in target_modules has modules in the base that only
// it asks for, or none at all.
func (c *peftConfig) wanted(name string, served map[string]bool, base weights.Config) (bool, error) {
	one := &selector{names: []string{name}}
	known := false
	for layer := range base.Layers {
		for kind := range engine.Module(engine.Modules) {
			m := Module{Layer: layer, Kind: kind}
			if _, ok, _ := one.match(m.name()); !ok {
				continue
			}
			known = true
			by, ok, err := c.targetOf(m)
			if err != nil {
				return false, err
			}
			if ok && !served[by] {
				return true, nil
			}
		}
	}
	return !known, nil
}
