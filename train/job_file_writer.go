package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// pack writes the checkpoint that counts as a job file.
func (f *folder) pack(w io.Writer) (err error) {
	c, err := f.read()
	if err != nil {
		return err
	}
	var parts []part
	defer func() {
		for _, p := range parts {
			err = errors.Join(err, p.file.Close())
		}
	}()
	m := manifest{Format: jobFormat, Version: jobFileVersion}
	for _, limit := range memberLimits() {
		p, err := f.part(limit, c)
		if err != nil {
			return err
		}
		parts, m.Files = append(parts, p), append(m.Files, p.member)
	}
	if err := c.check(m); err != nil {
		return err
	}
	if err := writeManifest(w, m); err != nil {
		return err
	}
	for _, p := range parts {
		if err := p.write(w); err != nil {
			return err
		}
	}
	_, err = w.Write(make([]byte, 2*tarBlock))
	return err
}

// part is a file on its way into a job file.
type part struct {
	member
	file io.ReadCloser
	read io.ReaderAt // the same
}

// part opens a file of the checkpoint that counts, and takes its hash. Of the
// log only the beginning that belongs to the checkpoint counts; it may be missing.
func (f *folder) part(limit memberLimit, c checkpoint) (part, error) {
	path, most := f.path(stateDir, f.latest, limit.name), limit.most
	if limit.name == logFile {
		path, most = f.path(logFile), min(most, c.LogBytes)
	}
	file, err := os.Open(path)
	if limit.name == logFile && errors.Is(err, fs.ErrNotExist) {
		return part{member{logFile, markBlob(nil)}, io.NopCloser(nil), bytes.NewReader(nil)}, nil
	}
	if err != nil {
		return part{}, err
	}
	p := part{member{Name: limit.name}, file, file}
	if err := p.mark(file, most); err != nil {
		return part{}, errors.Join(fmt.Errorf("read %s: %w", path, err), file.Close())
	}
	return p, nil
}

// mark takes a file's size and hash; of a log at most the first most bytes.
func (p *part) mark(file *os.File, most int64) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	p.Bytes = info.Size()
	if p.Name == logFile {
		p.Bytes = min(p.Bytes, most)
	}
	if p.Bytes > most {
		return fmt.Errorf("%d bytes, at most %d are taken", p.Bytes, most)
	}
	p.Hash, err = p.copy(io.Discard)
	return err
}

// copy writes a file's bytes and returns their hash.
func (p *part) copy(w io.Writer) (string, error) {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.NewSectionReader(p.read, 0, p.Bytes))
	if err == nil && n < p.Bytes {
		err = fmt.Errorf("%s: it has become shorter", p.Name)
	}
	return hashName(h), err
}

func (p *part) write(w io.Writer) error {
	if _, err := w.Write(tarHeader(p.Name, p.Bytes)); err != nil {
		return err
	}
	sum, err := p.copy(w)
	switch {
	case err != nil:
		return err
	case sum != p.Hash:
		return fmt.Errorf("%s: it changed while it was packed: its hash was %s, now it is %s", p.Name, p.Hash, sum)
	}
	_, err = w.Write(make([]byte, tarPadding(p.Bytes)))
	return err
}

func writeManifest(w io.Writer, m manifest) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	size := int64(len(data))
	all := append(tarHeader(manifestFile, size), data...)
	_, err = w.Write(append(all, make([]byte, tarPadding(size))...))
	return err
}
