package text

import (
	"fmt"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// strftimeLayouts are Python's directives as Go's layouts.
var strftimeLayouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'H': "15", 'I': "03",
	'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'S': "05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST",
	'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04",
}

// strftimeNow is transformers' strftime_now: the present time, written as
// Python's strftime does.
func (t *Template) strftimeNow(params *exec.VarArgs) (any, error) {
	args := nativeArgs(params)
	if len(args) != 1 {
		return nil, fmt.Errorf("strftime_now: %d arguments, want 1", len(args))
	}
	return strftime(t.now(), str(args[0]))
}

func strftime(now time.Time, format string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out.WriteByte(format[i])
			continue
		}
		i++
		plain := format[i] == '-' && i+1 < len(format) // %-d: no leading zero
		if plain {
			i++
		}
		text, err := directive(now, format[i])
		if err != nil {
			return "", err
		}
		if plain {
			text = strings.TrimLeft(text[:len(text)-1], "0 ") + text[len(text)-1:]
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

func directive(now time.Time, c byte) (string, error) {
	if c == '%' {
		return "%", nil
	}
	if c == 'f' {
		return fmt.Sprintf("%06d", now.Nanosecond()/1000), nil
	}
	layout, ok := strftimeLayouts[c]
	if !ok {
		return "", fmt.Errorf("strftime_now: directive %%%c is not supported", c)
	}
	return now.Format(layout), nil
}
