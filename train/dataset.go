package train

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
)

// Example is a sequence of token ids with those that count in the loss.
type Example struct {
	IDs     []int32
	Targets []bool // beside IDs; the first is never one, nothing comes before it
	Line    int    // of its file, from 1; 0: a block of a text
}

// continuation counts everything from position k on.
func continuation(ids []int32, k int) Example {
	e := Example{IDs: ids, Targets: make([]bool, len(ids))}
	for i := max(k, 1); i < len(ids); i++ {
		e.Targets[i] = true
	}
	return e
}

// rows is the number of tokens that the targets depend on: those before the
// last target, but at least two, which is the least that can be trained. 0: there are no targets.
func (e Example) rows() int {
	for i := len(e.IDs) - 1; i > 0; i-- {
		if e.Targets[i] {
			return max(i, 2)
		}
	}
	return 0
}

// maxTokens is the largest data set, in tokens: all are in memory.
const maxTokens = 256 << 20

// Dataset is the examples of a file.
type Dataset struct {
	Name     string // the file's, for messages
	Examples []Example
}

// Load reads a file's examples. It is an error if there are none, or if none of
// them has a target.
func (r Reader) Load(name string) (*Dataset, error) {
	all, err := r.Read(name)
	if err != nil {
		return nil, err
	}
	return collect(name, all)
}

func collect(name string, all iter.Seq2[Example, error]) (*Dataset, error) {
	d, tokens := &Dataset{Name: name}, 0
	for e, err := range all {
		if err != nil {
			return nil, err
		}
		if tokens += len(e.IDs); tokens > maxTokens {
			return nil, fmt.Errorf("%s has more than %d Mi tokens: split it", name, maxTokens>>20)
		}
		d.Examples = append(d.Examples, e)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

var (
	errEmpty     = errors.New("no sequences: the file is empty")
	errNoTargets = errors.New("no targets: every sequence needs a token after its first one or its prompt")
)

func (d *Dataset) check() error {
	if len(d.Examples) == 0 {
		return errEmpty
	}
	for _, e := range d.Examples {
		if e.rows() > 0 {
			return nil
		}
	}
	return errNoTargets
}

// Longest is the most rows that a sequence takes of a step; 0 for no data.
func (d *Dataset) Longest() int {
	longest := 0
	if d != nil {
		for _, e := range d.Examples {
			longest = max(longest, e.rows())
		}
	}
	return longest
}

// where names an example for messages.
func (d *Dataset) where(i int) string {
	if line := d.Examples[i].Line; line > 0 {
		return fmt.Sprintf("%s: line %d", d.Name, line)
	}
	return fmt.Sprintf("%s: block %d", d.Name, i+1)
}

// limits is what a sequence may have at most.
type limits struct {
	context int // tokens
	rows    int // of a step
	blocks  int // of the cache
}

// fit refuses sequences that no step can take, or cuts them off at what it can.
// What is cut is a copy: d stays as it was.
func (d *Dataset) fit(l limits, blockSize int, truncate bool) (*Dataset, error) {
	out := &Dataset{Name: d.Name, Examples: make([]Example, len(d.Examples))}
	for i, e := range d.Examples {
		why := ""
		switch n := len(e.IDs); {
		case n > l.context:
			why = fmt.Sprintf("the context is %d", l.context)
		case e.rows() > l.rows:
			why = fmt.Sprintf("a step takes %d rows of training", l.rows)
		case e.rows() > l.blocks*blockSize:
			why = fmt.Sprintf("the cache has %d blocks of %d", l.blocks, blockSize)
		}
		if why != "" && !truncate {
			return nil, fmt.Errorf("%s: the sequence has %d tokens, but %s: shorten it, or cut it off with --truncate", d.where(i), len(e.IDs), why)
		}
		if why != "" {
			e.IDs = e.IDs[:min(len(e.IDs), l.context, l.rows, l.blocks*blockSize)]
			e.Targets = e.Targets[:len(e.IDs)]
		}
		out.Examples[i] = e
	}
	if err := out.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Name, err)
	}
	return out, nil
}

// fingerprint is a hash of all ids and targets, in order: the same data read
// in the same way.
func (d *Dataset) fingerprint() string {
	hash := sha256.New()
	var buffer []byte
	for _, e := range d.Examples {
		buffer = binary.LittleEndian.AppendUint32(buffer[:0], uint32(len(e.IDs)))
		for i, id := range e.IDs {
			word := uint64(uint32(id)) << 1
			if e.Targets[i] {
				word |= 1
			}
			buffer = binary.LittleEndian.AppendUint64(buffer, word)
		}
		hash.Write(buffer) // a hash takes everything
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

// base is a file's name without its folders, for what is kept of it.
func (d *Dataset) base() string { return filepath.Base(d.Name) }
