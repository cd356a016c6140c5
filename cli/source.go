package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"loquetier/engine/text"
	"loquetier/engine/weights"
	"loquetier/models"
)

// stories is the name of the embedded model, and the folder of its adapters.
const stories = "stories"

// baseName stands for the model without an adapter.
const baseName = "base"

// openModel opens a model's folder by --model.
func openModel(name string) (weights.Folder, error) {
	if name == stories {
		return weights.OpenFS(models.Stories(), stories), nil
	}
	return openDir("model", name)
}

// openAdapter opens an adapter's folder, on disk or embedded.
func openAdapter(dir string) (weights.Folder, error) {
	if inner, ok := strings.CutPrefix(dir, stories+"/"); ok {
		if fsys, ok := models.Adapter(inner); ok {
			return weights.OpenFS(fsys, dir), nil
		}
	}
	return openDir("adapter", dir)
}

func openDir(what, dir string) (weights.Folder, error) {
	folder, err := weights.OpenDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s %s: no such folder: give a folder on disk, or %s", what, dir, embedded(what))
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", what, dir, err)
	}
	return folder, nil
}

// embedded tells what is built in.
func embedded(what string) string {
	if what == "model" {
		return stories
	}
	return storiesAdapters()
}

func storiesAdapters() string {
	return stories + "/" + strings.Join(models.Adapters(), ", "+stories+"/")
}

// Limits on the text files of a model folder, in bytes.
const (
	maxTokenizer       = 128 << 20
	maxTokenizerConfig = 16 << 20
	maxChatTemplate    = 1 << 20
)

// loadText reads how a model reads and writes text; nil where its folder has
// no tokenizer.
func loadText(folder weights.Folder) (*text.Text, error) {
	var files text.Files
	for _, f := range []struct {
		to    *[]byte
		name  string
		limit int64
	}{
		{&files.Tokenizer, "tokenizer.json", maxTokenizer},
		{&files.TokenizerConfig, "tokenizer_config.json", maxTokenizerConfig},
		{&files.ChatTemplate, "chat_template.jinja", maxChatTemplate},
	} {
		data, err := folder.Read(f.name, f.limit)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		*f.to = data
	}
	if files.Tokenizer == nil {
		return nil, nil
	}
	x, err := text.Load(files)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder.Path(""), err)
	}
	return x, nil
}
