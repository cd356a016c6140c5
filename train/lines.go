package train

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Limits on the files that are read line by line.
const (
	MaxLine  = 16 << 20 // bytes
	MaxLines = 1_000_000
	maxFile  = 4 << 30 // bytes
)

// ErrLongLine is the error of one line; the next one can be read after it.
var ErrLongLine = fmt.Errorf("longer than %d MiB", MaxLine>>20)

// Lines reads a text file line by line, without those that are empty.
type Lines struct {
	name   string
	number int // of the line that was read last, from 1
	file   *os.File
	reader *bufio.Reader
}

// OpenLines opens a file; "-" is not special.
func OpenLines(name string) (*Lines, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	switch info, err := f.Stat(); {
	case err == nil && info.IsDir():
		return nil, errors.Join(fmt.Errorf("read %s: a folder, not a file", name), f.Close())
	case err == nil && info.Size() > maxFile:
		return nil, errors.Join(fmt.Errorf("read %s: %d bytes, at most %d are taken: split it", name, info.Size(), int64(maxFile)), f.Close())
	}
	return &Lines{name: name, file: f, reader: bufio.NewReaderSize(io.LimitReader(f, maxFile+1), 64<<10)}, nil
}

// Close closes the file.
func (l *Lines) Close() error { return l.file.Close() }

// Errorf is an error that names the file and the line that was read last.
func (l *Lines) Errorf(err error) error { return fmt.Errorf("%s: line %d: %w", l.name, l.number, err) }

// Next is the next line that is not empty, io.EOF after the last. An
// ErrLongLine is the error of that line alone.
func (l *Lines) Next() ([]byte, error) {
	for {
		line, err := l.line()
		if line = bytes.TrimSpace(line); len(line) > 0 || err != nil {
			return line, err
		}
	}
}

func (l *Lines) line() ([]byte, error) {
	l.number++
	if l.number > MaxLines {
		if _, err := l.reader.Peek(1); err != nil {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("%s has more than %d lines: split it", l.name, MaxLines)
	}
	var whole []byte
	for long := false; ; {
		part, err := l.reader.ReadSlice('\n')
		if long = long || len(whole)+len(part) > MaxLine; !long {
			whole = append(whole, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(whole) == 0 && !long:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read %s: %w", l.name, err)
		case long:
			return nil, ErrLongLine
		}
		return whole, nil
	}
}
