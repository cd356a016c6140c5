package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"loquetier/scheduler"
)

// decisionLog writes a line for each step. It is buffered: the scheduler does
// not wait for the disk.
type decisionLog struct {
	file *os.File
	out  *bufio.Writer
	err  error // the first; nothing is written after it
}

const decisionBuffer = 1 << 16 // bytes

func newDecisionLog(name string) (*decisionLog, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("--decisions: %w", err)
	}
	return &decisionLog{file: f, out: bufio.NewWriterSize(f, decisionBuffer)}, nil
}

func (l *decisionLog) add(d scheduler.Decision) {
	if l.err == nil {
		l.err = json.NewEncoder(l.out).Encode(d)
	}
}

// close writes what is left, once no more is added.
func (l *decisionLog) close() error {
	if err := errors.Join(l.err, l.out.Flush(), l.file.Close()); err != nil {
		return fmt.Errorf("--decisions: %w", err)
	}
	return nil
}
