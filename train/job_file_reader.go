package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

var errCutShort = errors.New("the job file is cut short")

// readJobFile reads a job file, exactly to its end, and gives each file's
// content to take as it comes, job.json first. What take was given is only to be
// used when readJobFile has returned without an error: each file is checked
// after its last byte.
func readJobFile(r io.Reader, take func(c checkpoint, name string, content io.Reader) error) (checkpoint, error) {
	j := jobReader{r}
	m, err := j.manifest()
	if err != nil {
		return checkpoint{}, err
	}
	var data []byte
	err = j.member(m.Files[0], func(content io.Reader) (err error) {
		data, err = io.ReadAll(content)
		return err
	})
	if err != nil {
		return checkpoint{}, err
	}
	c, err := decodeCheckpoint(jobFile, data)
	if err == nil {
		err = c.check(m)
	}
	if err == nil {
		err = take(c, jobFile, bytes.NewReader(data))
	}
	for _, f := range m.Files[1:] {
		if err == nil {
			err = j.member(f, func(content io.Reader) error { return take(c, f.Name, content) })
		}
	}
	if err == nil {
		err = j.zeros("its end", 2*tarBlock)
	}
	return c, err
}

// check refuses what no job writes, and what belongs to other files.
func (c checkpoint) check(m manifest) error {
	steps, err := c.steps()
	if err != nil {
		return err
	}
	if err := c.Progress.check(c.Settings.batch(), steps); err != nil {
		return err
	}
	if state := m.mark(stateFile); c.State != state {
		return fmt.Errorf("%s has %d bytes and the hash %s, %s says %d and %s", stateFile, state.Bytes, state.Hash, jobFile, c.State.Bytes, c.State.Hash)
	}
	if log := m.mark(logFile); log.Bytes > c.LogBytes || c.LogBytes < 0 {
		return fmt.Errorf("%s has %d bytes, %s says at most %d", logFile, log.Bytes, jobFile, c.LogBytes)
	}
	return nil
}

// steps is the number of optimizer steps of the whole run.
func (c checkpoint) steps() (steps int, err error) {
	if err = c.Settings.Check(); err == nil && (c.Data.Sequences < 1 || c.Data.Sequences > maxTokens) {
		err = fmt.Errorf("%d sequences, want 1 to %d", c.Data.Sequences, maxTokens)
	}
	if err == nil {
		steps, err = c.Settings.steps(c.Data.Sequences)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", jobFile, err)
	}
	return steps, nil
}

// jobReader reads the parts of a job file.
type jobReader struct{ r io.Reader }

func (j jobReader) manifest() (manifest, error) {
	header := make([]byte, tarBlock)
	if _, err := io.ReadFull(j.r, header); err != nil {
		return manifest{}, cutShort(manifestFile, err)
	}
	size, ok := tarSize(header, manifestFile)
	if !ok || size > maxManifest {
		return manifest{}, errNoJobFile
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(j.r, data); err != nil {
		return manifest{}, cutShort(manifestFile, err)
	}
	m, err := readManifest(data)
	if err != nil {
		return m, err
	}
	return m, j.zeros(manifestFile, tarPadding(size))
}

// member reads a file whose header must be that of m.
func (j jobReader) member(m member, take func(content io.Reader) error) error {
	header := make([]byte, tarBlock)
	if _, err := io.ReadFull(j.r, header); err != nil {
		return cutShort(m.Name, err)
	}
	if !bytes.Equal(header, tarHeader(m.Name, m.Bytes)) {
		return fmt.Errorf("%s: its header in the job file is damaged", m.Name)
	}
	c := &content{r: j.r, left: m.Bytes, hash: sha256.New()}
	err := take(c)
	if err == nil {
		_, err = io.Copy(io.Discard, c)
	}
	switch got := c.sum(); {
	case c.err != nil:
		return cutShort(m.Name, c.err)
	case err != nil:
		return err
	case got != m.Hash:
		return fmt.Errorf("%s: it is damaged: its hash is %s, %s says %s", m.Name, got, manifestFile, m.Hash)
	}
	return j.zeros(m.Name, tarPadding(m.Bytes))
}

// zeros reads n bytes that must be zero.
func (j jobReader) zeros(where string, n int64) error {
	block := make([]byte, n)
	if _, err := io.ReadFull(j.r, block); err != nil {
		return cutShort(where, err)
	}
	if len(bytes.Trim(block, "\x00")) > 0 {
		return fmt.Errorf("%s: the job file is damaged: there are bytes where none should be", where)
	}
	return nil
}

// cutShort words an error of reading.
func cutShort(where string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errCutShort
	}
	return fmt.Errorf("%s: %w", where, err)
}

// content is a file's bytes on their way out of a job file.
type content struct {
	r    io.Reader
	left int64
	hash hash.Hash
	err  error // of r, which may have ended too early
}

// Read gives no more than the file has, and fails where there is less.
func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.hash.Write(p[:n]) // a hash takes everything
	if c.left -= int64(n); c.left == 0 {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	c.err = err
	return n, err
}

func (c *content) sum() string { return hashName(c.hash) }

// hashName is a SHA-256 as it stands in files.
func hashName(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
