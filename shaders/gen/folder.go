package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// A folder is the content of shaders/spv: file names and their bytes.
type folder map[string][]byte

// read returns the files in dir, none if it does not exist.
func read(dir string) (folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list generated shaders: %w", err)
	}
	files := folder{}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(dir, entry.Name())); err != nil {
			return nil, fmt.Errorf("read generated shader: %w", err)
		}
	}
	return files, nil
}

// names returns the files' names in order.
func (f folder) names() []string { return slices.Sorted(maps.Keys(f)) }

// check returns an error that names every file in dir that is missing, differs
// or should not be there.
func (f folder) check(dir string) error {
	have, err := read(dir)
	if err != nil {
		return err
	}
	var wrong []error
	note := func(name, what string) {
		wrong = append(wrong, fmt.Errorf("%s: %s; run `make shaders`", filepath.Join(dir, name), what))
	}
	for _, name := range f.names() {
		if code, ok := have[name]; !ok {
			note(name, "missing")
		} else if !bytes.Equal(code, f[name]) {
			note(name, "differs from what its source compiles to")
		}
	}
	for _, name := range have.names() {
		if _, ok := f[name]; !ok {
			note(name, "stale, no kernel has this name")
		}
	}
	return errors.Join(wrong...)
}

// write makes dir hold exactly these files, and leaves those alone that are as
// they should be.
func (f folder) write(dir string) error {
	have, err := read(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create folder for generated shaders: %w", err)
	}
	for name := range have {
		if _, ok := f[name]; ok {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("remove stale shader: %w", err)
		}
	}
	for name, code := range f {
		if old, ok := have[name]; ok && bytes.Equal(old, code) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), code, 0o644); err != nil {
			return fmt.Errorf("write generated shader: %w", err)
		}
	}
	return nil
}
