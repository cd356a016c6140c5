package train

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The chart's measures, in pixels.
const (
	svgWidth, svgHeight               = 800, 420
	svgLeft, svgRight, svgTop, svgLow = 64, 780, 44, 372 // of the plot
	svgPoints                         = 1500             // most on a line
)

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 420" width="800" height="420" role="img" aria-label="loss curve">
<style>
  svg { background: #fff; font: 12px system-ui, sans-serif }
  text { fill: #444 }
  .grid { stroke: #ddd } .axis { stroke: #888 }
  path { fill: none; stroke-linejoin: round }
  .loss { stroke: #4c78a8; stroke-opacity: .35 } .mean { stroke: #4c78a8; stroke-width: 2 }
  .eval { stroke: #e45756; stroke-width: 2 } circle { fill: #e45756 }
  @media (prefers-color-scheme: dark) {
    svg { background: #15181c } text { fill: #bbb } .grid { stroke: #30353b } .axis { stroke: #777 }
  }
</style>
`

// SVG draws the curve: the losses thin, their running mean, and the
// evaluations as points. Without any point it is an empty chart.
func (c *Curve) SVG(w io.Writer) error {
	var out strings.Builder
	out.WriteString(svgHead)
	if box, ok := c.extent(); ok {
		drawing{&out, box}.draw(c)
	}
	out.WriteString("</svg>\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// drawing is a chart with its scales.
type drawing struct {
	*strings.Builder
	extent
}

func (d drawing) draw(c *Curve) {
	vertical := ticks(d.low, d.high, 6)
	d.low, d.high = vertical[0], vertical[len(vertical)-1]
	d.grid(vertical)
	points := thinned(c.Loss, svgPoints)
	d.line("loss", points)
	d.line("mean", smoothed(points))
	evals := thinned(c.Eval, svgPoints)
	d.line("eval", evals)
	for _, p := range evals {
		fmt.Fprintf(d, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", d.x(float64(p.Step)), d.y(p.Loss))
	}
	d.legend(len(evals) > 0)
}

func (d drawing) x(step float64) float64 {
	return svgLeft + step/float64(d.steps)*(svgRight-svgLeft)
}

func (d drawing) y(loss float64) float64 {
	return svgLow - (loss-d.low)/(d.high-d.low)*(svgLow-svgTop)
}

// grid draws axes, ticks and their numbers.
func (d drawing) grid(vertical []float64) {
	for _, v := range vertical {
		fmt.Fprintf(d, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", svgLeft, svgRight, d.y(v), d.y(v))
		fmt.Fprintf(d, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", svgLeft-8, d.y(v)+4, short(v))
	}
	for _, v := range ticks(0, float64(d.steps), 8) {
		if v > float64(d.steps) || v != float64(int(v)) {
			continue
		}
		fmt.Fprintf(d, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", d.x(v), d.x(v), svgLow, svgLow+5)
		fmt.Fprintf(d, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n", d.x(v), svgLow+20, int(v))
	}
	fmt.Fprintf(d, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", svgLeft, svgTop, svgLow, svgRight)
	fmt.Fprintf(d, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n", (svgLeft+svgRight)/2, svgHeight-10)
}

func (d drawing) line(class string, points []Point) {
	if len(points) == 0 {
		return
	}
	fmt.Fprintf(d, "<path class=\"%s\" d=\"", class)
	for i, p := range points {
		d.WriteByte("ML"[min(i, 1)])
		fmt.Fprintf(d, "%.1f %.1f", d.x(float64(p.Step)), d.y(p.Loss))
	}
	d.WriteString("\"/>\n")
}

func (d drawing) legend(evaluated bool) {
	entry := func(x int, class, name string) {
		fmt.Fprintf(d, "<path class=\"%s\" d=\"M%d 22h24\"/><text x=\"%d\" y=\"26\">%s</text>\n", class, x, x+30, name)
	}
	entry(svgLeft, "loss", "loss")
	entry(svgLeft+80, "mean", "running mean")
	if evaluated {
		entry(svgLeft+210, "eval", "evaluation")
	}
}

// short is a number with as many digits as it needs, at most five.
func short(v float64) string { return strconv.FormatFloat(v, 'g', 5, 64) }
