package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vulkan is the only package with C and pointer arithmetic.
const vulkan = "engine/vk"

// badUnsafe returns a line for every use of cgo or unsafe outside of vulkan.
// Ops may take constant sizes, to bound their push constants at compile time.
func badUnsafe(all []source) []string {
	var bad []string
	for _, s := range all {
		if s.isTest() || s.pkg() == vulkan {
			continue
		}
		imports := s.imports()
		if slices.Contains(imports, "C") {
			bad = append(bad, s.path+": cgo is for "+vulkan+" only")
		}
		if slices.Contains(imports, "unsafe") && !(isOp(s.path) && onlyConstantSizes(s.syntax)) {
			bad = append(bad, s.path+": unsafe is for "+vulkan+", and for constants with unsafe.Sizeof in engine/op_*.go")
		}
	}
	return bad
}

func isOp(name string) bool {
	ok, err := path.Match("engine/op_*.go", name)
	return ok && err == nil
}

// onlyConstantSizes tells whether unsafe occurs in constant declarations only,
// and there only as unsafe.Sizeof. The name cannot be hidden behind another one.
func onlyConstantSizes(file *ast.File) bool {
	for _, spec := range file.Imports {
		if spec.Path.Value == `"unsafe"` && spec.Name != nil {
			return false
		}
	}
	uses, sizes := 0, 0
	ast.Inspect(file, func(n ast.Node) bool {
		if isUnsafe(n, "") {
			uses++
		}
		if decl, ok := n.(*ast.GenDecl); ok && decl.Tok == token.CONST {
			ast.Inspect(decl, func(n ast.Node) bool {
				if isUnsafe(n, "Sizeof") {
					sizes++
				}
				return true
			})
		}
		return true
	})
	return uses == sizes
}

// isUnsafe tells whether n is unsafe.<name>, any member if name is empty.
func isUnsafe(n ast.Node, name string) bool {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name == "unsafe" && (name == "" || selector.Sel.Name == name)
}

// foreignFiles returns the C and assembly files outside of vulkan.
func foreignFiles(root fs.FS) ([]string, error) {
	var found []string
	err := walk(root, func(name string) error {
		foreign := []string{".c", ".h", ".cc", ".cpp", ".m", ".s", ".S", ".syso"}
		if slices.Contains(foreign, path.Ext(name)) && path.Dir(name) != vulkan {
			found = append(found, name)
		}
		return nil
	})
	return found, err
}

func TestCgoAndUnsafeStayInVulkan(t *testing.T) {
	assertNone(t, badUnsafe(sources(t, repository())))
	found, err := foreignFiles(repository())
	require.NoError(t, err)
	assert.Empty(t, found, "C and assembly are for %s only", vulkan)
}

func TestBadUnsafeIsFound(t *testing.T) {
	const size = "package engine; import \"unsafe\"\ntype push struct{}\nconst _ = 128 - unsafe.Sizeof(push{})\n"
	root := fstest.MapFS{
		"engine/op_norm.go":    {Data: []byte(size)},
		"engine/op_rope.go":    {Data: []byte(size + "var p = unsafe.Pointer(nil)")},
		"engine/op_sum.go":     {Data: []byte(size + "func f() uintptr { return unsafe.Sizeof(push{}) }")},
		"engine/op_named.go":   {Data: []byte("package engine; import u \"unsafe\"\nvar p = u.Pointer(nil)")},
		"engine/run.go":        {Data: []byte(size)},
		"engine/vk/memory.go":  {Data: []byte(`package vk; import ("C"; "unsafe")`)},
		"engine/weights/c.go":  {Data: []byte(`package weights; import "C"`)},
		"engine/run_test.go":   {Data: []byte(`package engine; import _ "unsafe"`)},
		"engine/vk/loader.c":   {},
		"engine/weights/add.s": {},
	}
	var files []string
	for _, line := range badUnsafe(sources(t, root)) {
		name, _, _ := strings.Cut(line, ":")
		files = append(files, name)
	}
	assert.ElementsMatch(t, []string{
		"engine/op_rope.go", "engine/op_sum.go", "engine/op_named.go", "engine/run.go", "engine/weights/c.go",
	}, files, fmt.Sprint(badUnsafe(sources(t, root))))

	found, err := foreignFiles(root)
	require.NoError(t, err)
	assert.Equal(t, []string{"engine/weights/add.s"}, found)
}
