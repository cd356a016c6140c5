// Package train fine-tunes adapters: it reads data sets, decides what is
// trained when, keeps count of losses, and saves so that a job can go on as if
// it had never stopped. It never touches a device: a Job offers spans and updates to
// whoever runs the steps, and takes their results.
package train

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"loquetier/engine/text"
)

// Reader reads data sets for a model. Its errors name the file and the line.
type Reader struct {
	Text       *text.Text // nil: the model has no tokenizer, data must be token ids
	Vocabulary int        // token ids are below that
	Block      int        // a .txt is cut into blocks of that many tokens, at least 2
}

// maxText is the largest text file that is read, in bytes: its tokens are all
// in memory.
const maxText = 256 << 20

// ErrNoBlock is the error of reading a text with Block 0.
var ErrNoBlock = errors.New("--block is missing: a text is cut into blocks of that many tokens")

// Read reads a file by its extension: .txt is cut into consecutive blocks of
// its token stream, without special tokens, and what is left is dropped; .jsonl has
// a sequence a line, in one of four forms. The sequence ends at the first error,
// and is read as it is ranged over.
func (r Reader) Read(name string) (iter.Seq2[Example, error], error) {
	switch ext := filepath.Ext(name); {
	case ext == ".txt" && r.Block == 0:
		return nil, ErrNoBlock
	case ext == ".txt":
		return r.textBlocks(name)
	case ext == ".jsonl":
		return r.jsonLines(name)
	}
	return nil, fmt.Errorf("%s: the data is a .txt or a .jsonl file", name)
}

func (r Reader) textBlocks(name string) (iter.Seq2[Example, error], error) {
	if r.Block < 2 {
		return nil, fmt.Errorf("--block %d: it takes 2 or more", r.Block)
	}
	content, err := readText(name)
	if err != nil {
		return nil, err
	}
	if r.Text == nil {
		return nil, errors.New("the model has no tokenizer.json: give .jsonl data with token ids")
	}
	ids, err := r.Text.Tokenizer.Encode(content, false)
	if err == nil {
		err = r.checkIDs(ids)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case len(ids) < r.Block:
		return nil, fmt.Errorf("%s has %d tokens, not one block of %d: choose a smaller --block", name, len(ids), r.Block)
	}
	return func(yield func(Example, error) bool) {
		for rest := ids; len(rest) >= r.Block; rest = rest[r.Block:] {
			if !yield(continuation(rest[:r.Block:r.Block], 0), nil) {
				return
			}
		}
	}, nil
}

func readText(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxText+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s: %w", name, err)
	case len(data) > maxText:
		return "", fmt.Errorf("read %s: more than %d MiB: split it", name, maxText>>20)
	}
	return string(data), nil
}

// jsonLines reads a sequence a line. The file is open until the sequence has
// been ranged over.
func (r Reader) jsonLines(name string) (iter.Seq2[Example, error], error) {
	file, err := OpenLines(name)
	if err != nil {
		return nil, err
	}
	return func(yield func(Example, error) bool) {
		defer file.Close()
		for {
			line, err := file.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			var e Example
			if err == nil {
				e, err = r.parse(line)
			}
			if err != nil {
				err = file.Errorf(err)
			}
			e.Line = file.number
			if !yield(e, err) || err != nil {
				return
			}
		}
	}, nil
}

// checkIDs refuses ids of a tokenizer that has more tokens than the model.
func (r Reader) checkIDs(ids []int32) error {
	for _, id := range ids {
		if err := r.checkID(int64(id)); err != nil {
			return err
		}
	}
	return nil
}

func (r Reader) checkID(id int64) error {
	if id < 0 || id >= int64(r.Vocabulary) {
		return fmt.Errorf("token id %d is outside the vocabulary of %d", id, r.Vocabulary)
	}
	return nil
}
