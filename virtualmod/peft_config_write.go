package virtualmod

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"loquetier/engine"
)

// peftVersion is the release of PEFT whose fields a written configuration has.
const peftVersion = "0.21.0"

// encodeConfig is adapter_config.json as PEFT writes it: every field of its
// LoraConfig, sorted, indented by two.
func (a *Adapter) encodeConfig() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(a.configFields()); err != nil {
		return nil, fmt.Errorf("encode %s: %w", peftConfigFile, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// configFields are the fields of PEFT's LoraConfig; what this program has no
// word for has PEFT's default. The encoder sorts them.
func (a *Adapter) configFields() map[string]any {
	rank, ranks := condense(a.Modules, func(m Module) int { return m.Rank })
	alpha, alphas := condense(a.Modules, func(m Module) float64 { return m.Alpha })
	var base any
	if a.Base != "" {
		base = a.Base
	}
	return map[string]any{
		"alora_invocation_tokens": nil,
		"alpha_pattern":           alphas,
		"arrow_config":            nil,
		"auto_mapping":            nil,
		"base_model_name_or_path": base,
		"bias":                    "none",
		"corda_config":            nil,
		"ensure_weight_tying":     false,
		"eva_config":              nil,
		"exclude_modules":         nil,
		"fan_in_fan_out":          false,
		"inference_mode":          true,
		"init_lora_weights":       true,
		"kasa_config":             nil,
		"layer_replication":       nil,
		"layers_pattern":          nil,
		"layers_to_transform":     nil,
		"loftq_config":            struct{}{},
		"lora_alpha":              alpha,
		"lora_bias":               false,
		"lora_dropout":            json.RawMessage("0.0"),
		"lora_ga_config":          nil,
		"megatron_config":         nil,
		"megatron_core":           "megatron.core",
		"modules_to_save":         nil,
		"monteclora_config":       nil,
		"peft_type":               "LORA",
		"peft_version":            peftVersion,
		"qalora_group_size":       16,
		"r":                       rank,
		"rank_pattern":            ranks,
		"revision":                nil,
		"target_modules":          a.targets(),
		"target_parameters":       nil,
		"task_type":               "CAUSAL_LM",
		"trainable_token_indices": nil,
		"use_bdlora":              nil,
		"use_dora":                a.DoRA,
		"use_qalora":              false,
		"use_rslora":              a.RSLoRA,
		"velora_config":           nil,
	}
}

// targets is target_modules, sorted: the names of the kinds that every layer of
// the base has a module of, and other modules in full.
func (a *Adapter) targets() []string {
	var names []string
	for kind, modules := range byKind(a.Modules) {
		if len(modules) == a.BaseLayers {
			names = append(names, engine.Module(kind).String())
			continue
		}
		for _, m := range modules {
			names = append(names, m.name())
		}
	}
	slices.Sort(names)
	return names
}

// condense writes a value of each module as the most common one, the smallest
// of several, and a pattern with the exceptions: by kind where all modules of
// the kind share their value, else in full. So no module answers to two keys,
// and the keys' order does not matter. In full, unescaped, is the one form that
// old and new releases of PEFT look up alike.
func condense[V int | float64](modules []Module, value func(Module) V) (V, map[string]V) {
	common := mostCommon(modules, value)
	pattern := map[string]V{}
	for kind, modules := range byKind(modules) {
		alike := !slices.ContainsFunc(modules, func(m Module) bool { return value(m) != value(modules[0]) })
		for _, m := range modules {
			switch {
			case value(m) == common:
			case alike:
				pattern[engine.Module(kind).String()] = value(m)
			default:
				pattern[m.name()] = value(m)
			}
		}
	}
	return common, pattern
}

func mostCommon[V int | float64](modules []Module, value func(Module) V) V {
	count := map[V]int{}
	for _, m := range modules {
		count[value(m)]++
	}
	best := value(modules[0])
	for v, n := range count {
		if n > count[best] || n == count[best] && v < best {
			best = v
		}
	}
	return best
}

func byKind(modules []Module) [engine.Modules][]Module {
	var kinds [engine.Modules][]Module
	for _, m := range modules {
		kinds[m.Kind] = append(kinds[m.Kind], m)
	}
	return kinds
}
