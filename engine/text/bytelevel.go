package text

import (
	"strings"
	"unicode/utf8"
)

// Byte-level BPE writes every byte as one printable character: printable
// Latin-1 stands for itself, the other 68 bytes are moved to U+0100 and up
// (GPT-2's bytes_to_unicode).

func byteToRune(b byte) rune {
	switch {
	case b <= ' ':
		return 0x100 + rune(b)
	case b >= 0x7F && b <= 0xA0:
		return 0x121 + rune(b) - 0x7F
	case b == 0xAD:
		return 0x143
	}
	return rune(b)
}

func runeToByte(r rune) (byte, bool) {
	switch {
	case r >= 0x100 && r <= 0x120:
		return byte(r - 0x100), true
	case r >= 0x121 && r <= 0x142:
		return byte(r - 0x121 + 0x7F), true
	case r == 0x143:
		return 0xAD, true
	case r > 0xFF:
		return 0, false
	}
	return byte(r), byteToRune(byte(r)) == r
}

// toByteLevel writes the bytes of s in the printable alphabet.
func toByteLevel(s string) string {
	var out strings.Builder
	out.Grow(len(s) + len(s)/4)
	for i := range len(s) {
		out.WriteRune(byteToRune(s[i]))
	}
	return out.String()
}

// fromByteLevel is the inverse; a token with a character outside the alphabet
// (an added token's) stands for its own UTF-8 bytes.
func fromByteLevel(token string) []byte {
	out := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := runeToByte(r)
		if !ok {
			return []byte(token)
		}
		out = append(out, b)
	}
	return out
}

// lossy decodes b as UTF-8, each maximal ill-formed part becoming one U+FFFD
// (as Rust's from_utf8_lossy; Go's conversions give one per byte). Unless
// final, an incomplete character at the end is not decoded but left over.
func lossy(b []byte, final bool) (decoded string, rest []byte) {
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			out.Write(b[:n])
			b = b[n:]
			continue
		}
		bad, incomplete := illFormed(b)
		if incomplete && !final {
			return out.String(), b
		}
		out.WriteRune(utf8.RuneError)
		b = b[bad:]
	}
	return out.String(), nil
}

// illFormed gives the length of the maximal ill-formed part b begins with, and
// whether more bytes could still make it a character (Unicode 3.9, table 3-7).
func illFormed(b []byte) (n int, incomplete bool) {
	want, low, high := 0, byte(0x80), byte(0xBF)
	switch c := b[0]; {
	case c >= 0xC2 && c <= 0xDF:
		want = 2
	case c >= 0xE0 && c <= 0xEF:
		want = 3
	case c >= 0xF0 && c <= 0xF4:
		want = 4
	}
	switch b[0] {
	case 0xE0:
		low = 0xA0
	case 0xED:
		high = 0x9F
	case 0xF0:
		low = 0x90
	case 0xF4:
		high = 0x8F
	}
	for n = 1; n < want; n++ {
		if n == len(b) {
			return n, true
		}
		if b[n] < low || b[n] > high {
			return n, false
		}
		low, high = 0x80, 0xBF
	}
	return n, false
}
