package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Limits of a trace's numbers, far above any use.
const (
	mostTokens   = 1 << 24 // of a prompt or an output
	mostRequests = 1 << 22
	mostSeconds  = 1 << 31
)

// timeLayout is how traces write times that are no numbers of seconds.
const timeLayout = "2006-01-02 15:04:05.999999999"

// ReadTrace reads a load from CSV: a header, then a request a line: its time,
// in seconds or as a date with a time of day, the tokens of its prompt, and those it
// generated. Columns are known by position, further ones are passed over. Times count from
// the first and must not go back. Errors name the line.
func ReadTrace(name string, r io.Reader) (Load, error) {
	t := traceReader{load: Load{Name: name}}
	lines := bufio.NewScanner(r)
	number := 1
	for ; lines.Scan(); number++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if number == 1 && (&traceReader{}).take(line) == nil {
			return Load{}, errors.New("line 1 is a request: a trace begins with a header, as time,prompt,generated")
		}
		if number == 1 || line == "" {
			continue
		}
		if err := t.take(line); err != nil {
			return Load{}, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := lines.Err(); err != nil {
		return Load{}, fmt.Errorf("line %d: %w", number, err)
	}
	if len(t.load.Requests) == 0 {
		return Load{}, errors.New("no requests: a trace is a header and a line for each request: time, prompt tokens, generated tokens")
	}
	return t.load, nil
}

// traceReader is a trace as far as it has been read.
type traceReader struct {
	load  Load
	first time.Duration // time of the first request
}

func (t *traceReader) take(line string) error {
	fields := strings.Split(line, ",")
	if len(fields) < 3 {
		return fmt.Errorf("%d columns, but there are three: time, prompt tokens, generated tokens", len(fields))
	}
	at, err := traceTime(strings.TrimSpace(fields[0]))
	if err != nil {
		return err
	}
	if len(t.load.Requests) == 0 {
		t.first = at
	}
	r := Request{At: at - t.first}
	if r.At < t.load.Length() {
		return fmt.Errorf("time %q is before that of the request above", fields[0])
	}
	if r.Prompt, err = traceTokens("prompt", fields[1]); err != nil {
		return err
	}
	if r.Output, err = traceTokens("generated", fields[2]); err != nil {
		return err
	}
	if len(t.load.Requests) == mostRequests {
		return fmt.Errorf("more than %d requests", mostRequests)
	}
	t.load.Requests = append(t.load.Requests, r)
	return nil
}

func traceTime(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(seconds >= 0 && seconds <= mostSeconds) {
			return 0, fmt.Errorf("time %q: it takes 0 to %d seconds", text, mostSeconds)
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}
	at, err := time.Parse(timeLayout, text)
	if err != nil {
		return 0, fmt.Errorf("time %q: it takes seconds, or a time like 2023-11-16 18:15:46.68", text)
	}
	return at.Sub(time.Unix(0, 0)), nil
}

func traceTokens(what, text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || n < 1 || n > mostTokens {
		return 0, fmt.Errorf("%s tokens %q: it takes 1 to %d", what, strings.TrimSpace(text), mostTokens)
	}
	return n, nil
}
