package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// StepRecord is the line of an optimizer step in the log.
type StepRecord struct {
	Step            int     `json:"step"`      // from 0
	Loss            Number  `json:"loss"`      // mean negative log-probability of its targets, in nats
	GradNorm        Number  `json:"grad_norm"` // before clipping
	LR              float64 `json:"lr"`
	Targets         int     `json:"targets"`
	Tokens          int     `json:"tokens"` // rows that were computed
	TokensPerSecond float64 `json:"tokens_per_s"`
	Skipped         bool    `json:"skipped,omitempty"` // the weights stayed as they were
}

// EvalRecord is the line of an evaluation.
type EvalRecord struct {
	Step     int    `json:"step"`      // optimizer steps done before it
	EvalLoss Number `json:"eval_loss"` // mean over all targets of the evaluation data
}

// maxLog is the largest log that is read back, in bytes.
const maxLog = 1 << 30

// runLog is the log in a job's folder, with the curve of what is in it.
type runLog struct {
	file  *os.File
	extra io.Writer // also gets the lines; nil: nobody
	bytes int64     // written so far
	curve Curve
}

// openLog opens the log and cuts it back to its first keep bytes, whole lines:
// those that belong to the checkpoint. What is missing of them is missing from
// the curve.
func openLog(path string, keep int64, extra io.Writer) (*runLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	l := &runLog{file: f, extra: extra}
	if err := l.cut(keep); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
	}
	return l, nil
}

func (l *runLog) cut(keep int64) error {
	if keep > maxLog {
		return fmt.Errorf("%d bytes, at most %d are read", keep, int64(maxLog))
	}
	lines := bufio.NewReader(io.LimitReader(l.file, keep))
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		l.bytes += int64(len(line))
		l.curve.addLine(line)
	}
	if err := l.file.Truncate(l.bytes); err != nil {
		return err
	}
	_, err := l.file.Seek(l.bytes, io.SeekStart)
	return err
}

// add writes a record's line.
func (l *runLog) add(record any) error {
	var line bytes.Buffer
	if err := json.NewEncoder(&line).Encode(record); err != nil {
		return err
	}
	if _, err := l.file.Write(line.Bytes()); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	l.bytes += int64(line.Len())
	l.curve.addLine(line.Bytes())
	if l.extra == nil {
		return nil
	}
	if _, err := l.extra.Write(line.Bytes()); err != nil {
		return fmt.Errorf("write --log: %w", err)
	}
	return nil
}

func (l *runLog) close() error { return l.file.Close() }
