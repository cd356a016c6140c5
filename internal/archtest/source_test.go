// Package archtest holds the tests of the architecture: who imports whom, where
// cgo and unsafe are, and which files a kernel consists of. ARCHITECTURE.md
// gives the rules in words.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "loquetier"

// A source is one parsed Go file of the module.
type source struct {
	path   string // within the module, with slashes
	lines  int
	syntax *ast.File
}

// pkg is the file's folder within the module, "." for the root.
func (s source) pkg() string { return path.Dir(s.path) }

// isTest tells whether only `go test` compiles the file.
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// imports returns the import paths of the file.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.syntax.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic("BUG: the parser accepted import path " + spec.Path.Value)
		}
		paths = append(paths, name)
	}
	return paths
}

// repository returns the module's folder.
func repository() fs.FS { return os.DirFS("../..") }

// walk calls visit with every file of the module that the go command or the C
// compiler may see.
func walk(root fs.FS, visit func(name string) error) error {
	return fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		base := entry.Name()
		hidden := strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")
		if entry.IsDir() && (hidden || base == "testdata" || base == "vendor") {
			return fs.SkipDir
		}
		if entry.IsDir() || hidden {
			return nil
		}
		return visit(name)
	})
}

// parseAll returns the Go files of all operating systems and build tags, which
// `go list` would not.
func parseAll(root fs.FS) ([]source, error) {
	var sources []source
	files := token.NewFileSet()
	err := walk(root, func(name string) error {
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
		syntax, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse source: %w", err)
		}
		sources = append(sources, source{name, strings.Count(string(text), "\n"), syntax})
		return nil
	})
	return sources, err
}

// sources returns the parsed module, or of the given folder for a test's test.
func sources(t *testing.T, root fs.FS) []source {
	t.Helper()
	all, err := parseAll(root)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all
}

// assertNone fails the test if there are complaints, one a line.
func assertNone(t *testing.T, complaints []string) {
	t.Helper()
	assert.Empty(t, strings.Join(complaints, "\n"))
}
