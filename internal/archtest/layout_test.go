package archtest

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/shaders"
)

// longest is the number of lines beyond which a file is more than one noun.
const longest = 800

// testsOnly are the folders without production code: one file of it would make
// their external test packages belong to something else.
var testsOnly = []string{"shaders_test", "internal/archtest"}

// badLayout returns a line for every production file that is too long or in a
// folder of tests.
func badLayout(all []source) []string {
	var bad []string
	for _, s := range all {
		if s.isTest() {
			continue
		}
		if s.lines > longest {
			bad = append(bad, fmt.Sprintf("%s: %d lines, more than %d", s.path, s.lines, longest))
		}
		for _, folder := range testsOnly {
			if s.pkg() == folder {
				bad = append(bad, s.path+": "+folder+" is for _test.go files only")
			}
		}
	}
	return bad
}

// opFiles returns the files that make up a kernel beside its row in the table.
func opFiles(k shaders.Kernel) []string {
	return []string{
		"shaders/" + k.Source(),
		"shaders/ref/" + k.Op + ".go",
		"shaders_test/" + k.Stem() + "_test.go",
		"engine/op_" + k.Stem() + ".go",
	}
}

// badKernels returns a line for every file that a kernel lacks, and for every
// GLSL file that no kernel is compiled from.
func badKernels(root fs.FS, kernels []shaders.Kernel) ([]string, error) {
	var bad []string
	reported, used := map[string]bool{}, map[string]bool{}
	for _, k := range kernels {
		used[k.Source()] = true
		for _, name := range opFiles(k) {
			if _, err := fs.Stat(root, name); err != nil && !reported[name] {
				reported[name] = true
				bad = append(bad, fmt.Sprintf("%s: missing, kernel %s needs it", name, k.Name()))
			}
		}
	}
	programs, err := fs.Glob(root, "shaders/*.comp")
	for _, name := range programs {
		if !used[path.Base(name)] {
			bad = append(bad, name+": no row of the kernel table is compiled from it")
		}
	}
	return bad, err
}

func TestFilesAreShortAndInTheirPlace(t *testing.T) {
	assertNone(t, badLayout(sources(t, repository())))
}

func TestEveryKernelHasItsFiles(t *testing.T) {
	kernels := shaders.Kernels()
	require.NotEmpty(t, kernels)
	bad, err := badKernels(repository(), kernels)
	require.NoError(t, err)
	assertNone(t, bad)
}

func TestBadLayoutIsFound(t *testing.T) {
	lines := func(n int) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("package x" + strings.Repeat("\n", n))}
	}
	root := fstest.MapFS{
		"engine/long.go":            lines(longest + 1),
		"engine/short.go":           lines(longest),
		"engine/long_test.go":       lines(longest + 1),
		"shaders_test/helper.go":    lines(1),
		"shaders_test/sum_test.go":  lines(1),
		"shaders_test/sub/inner.go": lines(1),
	}
	assert.ElementsMatch(t, []string{
		"engine/long.go: 801 lines, more than 800",
		"shaders_test/helper.go: shaders_test is for _test.go files only",
	}, badLayout(sources(t, root)))
}

func TestBadKernelsAreFound(t *testing.T) {
	root := fstest.MapFS{}
	for _, name := range []string{
		"shaders/norm.comp", "shaders/ref/norm.go", "shaders_test/norm_test.go", "engine/op_norm.go",
		"shaders/attention_decode.comp", "shaders/ref/attention_decode.go", "engine/op_attention_decode.go",
		"shaders/forgotten.comp",
	} {
		root[name] = &fstest.MapFile{}
	}
	bad, err := badKernels(root, []shaders.Kernel{
		{Op: "norm"}, {Op: "attention_decode", Variant: "f16"}, {Op: "attention_decode", Variant: "f32"},
	})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"shaders_test/attention_decode_test.go: missing, kernel attention_decode-f16 needs it",
		"shaders/forgotten.comp: no row of the kernel table is compiled from it",
	}, bad)
}
