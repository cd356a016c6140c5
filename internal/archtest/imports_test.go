package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
)

// allowed lists for every package the packages of this module that it may
// import. Tests may import anything.
var allowed = map[string][]string{
	".":                 {"cli"},
	"engine":            {"engine/vk", "engine/batch", "shaders", "engine/weights"},
	"engine/batch":      {},
	"engine/text":       {},
	"engine/vk":         {},
	"engine/weights":    {},
	"models":            {},
	"scheduler":         {"engine/batch"},
	"shaders":           {},
	"shaders/gen":       {"shaders"},
	"shaders/ref":       {},
	"train":             {"virtualmod", "engine/batch", "engine/text", "engine/weights"},
	"virtualmod":        {"engine", "engine/batch", "engine/weights"},
	"shaders_test":      {},
	"internal/archtest": {},
}

// isFace tells whether pkg is the command line or a part of it, which compose
// the others and so may import all of them.
func isFace(pkg string) bool { return pkg == "cli" || strings.HasPrefix(pkg, "cli/") }

// badImports returns a line for every import that the rules do not allow.
func badImports(all []source) []string {
	var bad []string
	for _, s := range all {
		if s.isTest() || isFace(s.pkg()) {
			continue
		}
		may, known := allowed[s.pkg()]
		if !known {
			bad = append(bad, fmt.Sprintf("%s: package %s has no row in the import rules", s.path, s.pkg()))
			continue
		}
		for _, name := range s.imports() {
			local, ok := strings.CutPrefix(name, module+"/")
			if ok && !slices.Contains(may, local) {
				bad = append(bad, fmt.Sprintf("%s: %s may not import %s", s.path, s.pkg(), local))
			}
		}
	}
	return bad
}

func TestImportsFollowTheRules(t *testing.T) {
	assertNone(t, badImports(sources(t, repository())))
}

func TestBadImportsAreFound(t *testing.T) {
	root := fstest.MapFS{
		"main.go":                    {Data: []byte(`package main; import "loquetier/cli"`)},
		"cli/run.go":                 {Data: []byte(`package cli; import _ "loquetier/engine/vk"`)},
		"cli/openai/routes.go":       {Data: []byte(`package openai; import _ "loquetier/train"`)},
		"scheduler/plan.go":          {Data: []byte(`package scheduler; import ("fmt"; b "loquetier/engine/batch")`)},
		"scheduler/plan_windows.go":  {Data: []byte(`package scheduler; import "loquetier/engine"`)},
		"scheduler/plan_test.go":     {Data: []byte(`package scheduler; import "loquetier/engine"`)},
		"engine/run.go":              {Data: []byte(`package engine; import "loquetier/cli/openai"`)},
		"extra/x.go":                 {Data: []byte(`package extra`)},
		"engine/testdata/example.go": {Data: []byte(`package not go`)},
	}
	assert.ElementsMatch(t, []string{
		"scheduler/plan_windows.go: scheduler may not import engine",
		"engine/run.go: engine may not import cli/openai",
		"extra/x.go: package extra has no row in the import rules",
	}, badImports(sources(t, root)))
}
