package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"loquetier/shaders"
)

// fakeTools makes a folder with a compiler that writes its arguments' defines
// and the source's text, and a validator that refuses the word "invalid".
func fakeTools(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tool := func(name, body string) {
		script := "#!/bin/sh\nif [ \"$1\" = --version ]; then echo " + name + " 1; exit; fi\n" + body
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	tool("glslang", `out= source= defines=
while [ $# -gt 0 ]; do
  case $1 in
  -o) out=$2; shift ;;
  -D*) defines="$defines $1" ;;
  esac
  source=$1; shift
done
grep -q warn "$source" && echo "WARNING: $source: as it says"
{ echo "$defines"; cat "$source"; } >"$out"
`)
	tool("spirv-val", `for file; do :; done
if grep -q invalid "$file"; then echo "error: invalid"; exit 1; fi
`)
	return dir
}

// source makes a folder with GLSL files of the given texts.
func source(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

func TestGenerateGivesOneFilePerKernelAndAReadme(t *testing.T) {
	c := compiler{fakeTools(t), source(t, map[string]string{"add.comp": "a", "mul.comp": "m"})}
	files, err := generate(c, []shaders.Kernel{
		{Op: "add"},
		{Op: "mul", Variant: "f16", Defines: []string{"T=float16_t", "N=2"}},
		{Op: "mul", Variant: "f32", Defines: []string{"T=float"}},
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"README", "add.spv", "mul-f16.spv", "mul-f32.spv"}, files.names())
	assert.Equal(t, "\na", string(files["add.spv"]))
	assert.Equal(t, " -DT=float16_t -DN=2\nm", string(files["mul-f16.spv"]))
	assert.Contains(t, string(files["README"]), "glslang: glslang 1\n")
}

func TestGenerateNamesEveryKernelThatFails(t *testing.T) {
	c := compiler{fakeTools(t), source(t, map[string]string{"bad.comp": "invalid", "odd.comp": "warn", "good.comp": "g"})}
	_, err := generate(c, []shaders.Kernel{{Op: "bad"}, {Op: "good"}, {Op: "odd"}, {Op: "absent"}})
	require.Error(t, err)
	for _, name := range []string{"bad", "odd", "absent"} {
		assert.ErrorContains(t, err, "compile kernel "+name+":")
	}
	assert.NotContains(t, err.Error(), "compile kernel good")
}

func TestGenerateRefusesTwoKernelsOfOneName(t *testing.T) {
	c := compiler{fakeTools(t), source(t, map[string]string{"add.comp": "a"})}
	_, err := generate(c, []shaders.Kernel{{Op: "add"}, {Op: "add"}})
	assert.ErrorContains(t, err, `two rows are named "add"`)
}

func TestCheckNamesMissingDifferentAndStaleFiles(t *testing.T) {
	dir := source(t, map[string]string{"same.spv": "1", "other.spv": "2", "old.spv": "3"})
	want := folder{"same.spv": []byte("1"), "other.spv": []byte("x"), "new.spv": []byte("4")}
	err := want.check(dir)
	require.Error(t, err)
	assert.ErrorContains(t, err, "new.spv: missing")
	assert.ErrorContains(t, err, "other.spv: differs")
	assert.ErrorContains(t, err, "old.spv: stale")
	assert.NotContains(t, err.Error(), "same.spv")

	require.NoError(t, want.write(dir))
	assert.NoError(t, want.check(dir))
	have, err := read(dir)
	require.NoError(t, err)
	assert.Equal(t, want, have)
}

func TestWriteCreatesTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spv")
	want := folder{"a.spv": []byte("1")}
	require.NoError(t, want.write(dir))
	assert.NoError(t, want.check(dir))
}
