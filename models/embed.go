// Package models holds the small model that is built into the program: the
// model "stories" and three adapters of it.
package models

import (
	"embed"
	"io/fs"
)

//go:embed stories/base stories/math stories/shakespeare stories/upper
var files embed.FS

// Pirate is the demo's data set: short stories, as .jsonl, that a pirate tells.
//
//go:embed demo/pirate.jsonl
var Pirate []byte

// Stories is the folder of the embedded model.
func Stories() fs.FS { return sub("base") }

// Adapters lists the names of the embedded adapters, as in "upper", sorted.
func Adapters() []string { return []string{"math", "shakespeare", "upper"} }

// Adapter is the folder of an embedded adapter in the layout of PEFT; false
// where there is none of that name.
func Adapter(name string) (fs.FS, bool) {
	for _, known := range Adapters() {
		if name == known {
			return sub(name), true
		}
	}
	return nil, false
}

func sub(name string) fs.FS {
	folder, err := fs.Sub(files, "stories/"+name)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return folder
}
