package text

import (
	"fmt"
	"unicode/utf8"
)

// behavior says what becomes of the matches a text is split by (Hugging
// Face's SplitDelimiterBehavior).
type behavior string

const (
	isolated           behavior = "Isolated"
	removed            behavior = "Removed"
	mergedWithPrevious behavior = "MergedWithPrevious"
	mergedWithNext     behavior = "MergedWithNext"
	contiguous         behavior = "Contiguous"
)

func (b behavior) check() error {
	switch b {
	case isolated, removed, mergedWithPrevious, mergedWithNext, contiguous:
		return nil
	}
	return fmt.Errorf("behavior %q is not supported", string(b))
}

// section is a stretch text[start:end] that is a match or lies between two.
type section struct {
	start, end int
	match      bool
}

// sections turns matches, in order, into a cover of the n bytes of a text.
// With invert, what matched did not and the other way round.
func sections(n int, matches [][]int, invert bool) []section {
	out := make([]section, 0, 2*len(matches)+1)
	done := 0
	for _, m := range matches {
		if m[0] > done {
			out = append(out, section{done, m[0], invert})
		}
		if m[1] > m[0] {
			out = append(out, section{m[0], m[1], !invert})
		}
		done = m[1]
	}
	if done < n {
		out = append(out, section{done, n, invert})
	}
	return out
}

// sectionsOf covers text with runs of characters for which match holds or not;
// with single, each matching character is a section of its own.
func sectionsOf(text string, match func(rune) bool, single bool) []section {
	var out []section
	for at := 0; at < len(text); {
		r, n := utf8.DecodeRuneInString(text[at:])
		is := match(r)
		if last := len(out) - 1; last >= 0 && out[last].match == is && !(is && single) {
			out[last].end += n
		} else {
			out = append(out, section{at, at + n, is})
		}
		at += n
	}
	return out
}

// apply merges or drops sections as b says.
func (b behavior) apply(in []section) []section {
	out := in[:0]
	switch b {
	case removed:
		for _, s := range in {
			if !s.match {
				out = append(out, s)
			}
		}
		return out
	case contiguous:
		for i, s := range in {
			if i > 0 && s.match == in[i-1].match {
				out[len(out)-1].end = s.end
				continue
			}
			out = append(out, s)
		}
		return out
	case mergedWithPrevious:
		return mergePrevious(in)
	case mergedWithNext:
		return mergeNext(in)
	}
	return in
}

// mergePrevious joins a match to the section before it, unless that is a match
// too.
func mergePrevious(in []section) []section {
	var out []section
	afterMatch := false
	for _, s := range in {
		if s.match && !afterMatch && len(out) > 0 {
			out[len(out)-1].end = s.end
		} else {
			out = append(out, s)
		}
		afterMatch = s.match
	}
	return out
}

// mergeNext joins a match to the section after it, unless that is a match too.
func mergeNext(in []section) []section {
	var out []section
	for i, s := range in {
		if i > 0 && in[i-1].match && !s.match {
			out[len(out)-1].end = s.end
		} else {
			out = append(out, s)
		}
	}
	return out
}

// cut gives the pieces of p that sections stand for.
func (p piece) cut(dst []piece, sections []section) []piece {
	for _, s := range sections {
		dst = append(dst, piece{p.text[s.start:s.end], p.first && s.start == 0})
	}
	return dst
}
