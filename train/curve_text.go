package train

import (
	"fmt"
	"math"
	"strings"
)

// eighths of a character cell, from below.
var eighths = [...]rune{' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'}

// gutter is the width of the labels beside a text curve, its border included.
const gutter = 9

// Text draws the losses as height lines of width characters, labels included,
// each ending in a newline; one more names the steps. It is empty where there is no
// loss, or less room than 24 by 2.
func (c *Curve) Text(width, height int) string {
	if len(c.Loss) == 0 || width < 24 || height < 2 {
		return ""
	}
	columns := stretched(thinned(c.Loss, width-gutter), width-gutter)
	box, _ := (&Curve{Loss: columns}).extent()
	low, high := box.low, box.high
	var out strings.Builder
	for line := range height {
		out.WriteString(label(line, height, low, high))
		for _, p := range columns {
			// The lowest loss still shows as one eighth.
			full := 1 + (p.Loss-low)/(high-low)*float64(8*height-1)
			above := int(math.Round(full)) - 8*(height-1-line)
			out.WriteRune(eighths[min(max(above, 0), 8)])
		}
		out.WriteByte('\n')
	}
	first, last := fmt.Sprintf("step %d", c.Loss[0].Step), fmt.Sprint(c.Loss[len(c.Loss)-1].Step)
	fmt.Fprintf(&out, "%*s%s%*s\n", gutter, "", first, width-gutter-len(first), last)
	return out.String()
}

// label is the left end of a line: the largest loss beside the first, the
// smallest beside the last.
func label(line, height int, low, high float64) string {
	switch line {
	case 0:
		return fmt.Sprintf("%7.7s ┤", short(high))
	case height - 1:
		return fmt.Sprintf("%7.7s ┤", short(low))
	}
	return fmt.Sprintf("%7s │", "")
}

// stretched repeats points so that there are n.
func stretched(points []Point, n int) []Point {
	out := make([]Point, n)
	for i := range out {
		out[i] = points[i*len(points)/n]
	}
	return out
}
