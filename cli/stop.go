package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Limits on stop strings, which are compared with all text as it comes.
const (
	maxStops      = 64
	maxStopLength = 4096 // bytes
)

// stopStrings end an output. In JSON a single one may stand alone.
type stopStrings []string

// UnmarshalJSON reads a string or a list of strings.
func (s *stopStrings) UnmarshalJSON(data []byte) error {
	var one *string
	if json.Unmarshal(data, &one) == nil {
		*s = nil
		if one != nil {
			*s = stopStrings{*one}
		}
		return nil
	}
	var list []string
	if json.Unmarshal(data, &list) != nil {
		return errors.New("stop takes a string or a list of strings")
	}
	*s = list
	return nil
}

func (s stopStrings) check() error {
	if len(s) > maxStops {
		return fmt.Errorf("stop: %d strings, at most %d are taken", len(s), maxStops)
	}
	for _, text := range s {
		if text == "" || len(text) > maxStopLength {
			return fmt.Errorf("stop: a string of %d bytes: it takes 1 to %d", len(text), maxStopLength)
		}
	}
	return nil
}

// find gives what comes before the first stop string in text, and whether
// there is one.
func (s stopStrings) find(text string) (before string, found bool) {
	first := len(text)
	for _, stop := range s {
		if at := strings.Index(text, stop); at >= 0 && at < first {
			first, found = at, true
		}
	}
	return text[:first], found
}

// held is the length of the longest end of text that may be the beginning of
// a stop string.
func (s stopStrings) held(text string) int {
	longest := 0
	for _, stop := range s {
		for n := min(len(stop)-1, len(text)); n > longest; n-- {
			if strings.HasPrefix(stop, text[len(text)-n:]) {
				longest = n
			}
		}
	}
	return longest
}
