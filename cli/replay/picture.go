package replay

import (
	"fmt"
	"html"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"loquetier/train"
)

// The picture's measures, in pixels.
const (
	pictureWidth, pictureHeight = 860, 620
	pictureLeft, pictureRight   = 70, 840
	plotHeight, plotPitch       = 132, 178
	firstPlot                   = 72 // top of the first plot
)

const pictureHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 620" width="860" height="620" role="img" aria-label="load, latency and training over time">
<style>
  svg { background: #fff; font: 12px system-ui, "DejaVu Sans", sans-serif }
  text { fill: #444 } .title { font-size: 14px; fill: #222 } .name { fill: #222 }
  .grid { stroke: #e3e3e3 } .axis { stroke: #888; fill: none }
  .line { fill: none; stroke-width: 1.6; stroke-linejoin: round } .target { stroke-dasharray: 5 4 }
  .a { stroke: #4c78a8 } .b { stroke: #e4842c } .c { stroke: #3f9b57 }
  .area { stroke: none; fill-opacity: .22 } .fa { fill: #4c78a8 } .fc { fill: #3f9b57 }
  circle { fill: #4c78a8; fill-opacity: .55 } .lost { fill: #d62728; fill-opacity: 1 }
  @media (prefers-color-scheme: dark) {
    svg { background: #15181c } text { fill: #bbb } .title, .name { fill: #ddd } .grid { stroke: #2a2f35 } .axis { stroke: #777 }
  }
</style>
`

// Picture is a run as it is drawn.
type Picture struct {
	Title      string
	Run        Run
	Targets    Targets
	TrainAlone float64 // training tokens a second without requests; 0: nothing is trained
}

// SVG draws three plots over one time: the load, the latencies beside their
// targets, and the training beside its standalone rate.
func (p Picture) SVG(w io.Writer) error {
	c := canvas{Builder: &strings.Builder{}, length: max(p.Run.Length, time.Millisecond).Seconds()}
	s := newSeries(p.Run)
	c.WriteString(pictureHead)
	fmt.Fprintf(c, "<text class=\"title\" x=\"%d\" y=\"26\">%s</text>\n", pictureLeft, html.EscapeString(p.Title))
	p.drawLoad(c, s)
	p.drawLatency(c, s)
	p.drawTraining(c, s)
	c.times()
	c.WriteString("</svg>\n")
	_, err := io.WriteString(w, c.String())
	return err
}

func (p Picture) drawLoad(c canvas, s series) {
	plot := c.plot(0, 0, largest(s.arrivals, s.running), false)
	plot.grid(number)
	plot.steps("a", "fa", s.width, s.arrivals)
	plot.line("b", s.width, s.running)
	plot.legend("load", entry{"a", "requests due, 1/s"}, entry{"b", "requests under way"})
}

func (p Picture) drawLatency(c canvas, s series) {
	low, high := p.latencies(s)
	plot := c.plot(1, low, high, true)
	plot.grid(duration)
	for _, o := range p.Run.Outcomes {
		if first, any := o.ttft(); any {
			plot.dot("", o.At, first.Seconds())
		}
		if o.Dropped {
			plot.dot("lost", o.At, high)
		}
	}
	plot.line("b", s.width, s.gaps)
	plot.level("a target", p.Targets.TTFT.Seconds())
	plot.level("b target", p.Targets.ITL.Seconds())
	plot.legend("latency", entry{"", "first token of each request"}, entry{"b", "between tokens, 99th percentile"}, entry{"a target", "targets"})
}

// latencies are the least and the most that the plot has to show, in seconds:
// whole decades.
func (p Picture) latencies(s series) (low, high float64) {
	low, high = p.Targets.ITL.Seconds(), p.Targets.TTFT.Seconds()
	note := func(v float64) {
		if v > 0 { // and a number
			low, high = min(low, v), max(high, v)
		}
	}
	for _, o := range p.Run.Outcomes {
		if first, any := o.ttft(); any {
			note(first.Seconds())
		}
	}
	for _, v := range s.gaps {
		note(v)
	}
	low, high = math.Pow(10, math.Floor(math.Log10(max(low, 1e-5)))), math.Pow(10, math.Ceil(math.Log10(high)))
	return low, max(high, 10*low)
}

func (p Picture) drawTraining(c canvas, s series) {
	plot := c.plot(2, 0, max(p.TrainAlone, largest(s.trained)), false)
	plot.grid(number)
	plot.steps("c", "fc", s.width, s.trained)
	entries := []entry{{"c", "tokens/s"}}
	if p.TrainAlone > 0 {
		plot.level("c target", p.TrainAlone)
		entries = append(entries, entry{"c target", "without requests"})
	}
	plot.legend("training", entries...)
}

// largest is the largest of all values, at least 1.
func largest(series ...[]float64) float64 {
	most := 1.0
	for _, values := range series {
		for _, v := range values {
			most = max(most, v)
		}
	}
	return most
}

// canvas is a picture being drawn.
type canvas struct {
	*strings.Builder
	length float64 // seconds
}

func (c canvas) x(seconds float64) float64 {
	return pictureLeft + seconds/c.length*(pictureRight-pictureLeft)
}

// times draws the axis that the plots share.
func (c canvas) times() {
	bottom := firstPlot + 2*plotPitch + plotHeight
	step := train.TickStep(c.length / 10)
	for i := 0; float64(i)*step <= c.length*(1+1e-9); i++ {
		v := float64(i) * step
		fmt.Fprintf(c, "<path class=\"axis\" d=\"M%.1f %dv5\"/><text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", c.x(v), bottom, c.x(v), bottom+20, number(v))
	}
	fmt.Fprintf(c, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">time, s</text>\n", (pictureLeft+pictureRight)/2, bottom+40)
}

// plot is one of the three, with its scale.
type plot struct {
	canvas
	top         int
	low, high   float64
	logarithmic bool
}

// plot makes the plot number i from the top. A scale that is not logarithmic ends at a tick.
func (c canvas) plot(i int, low, high float64, logarithmic bool) plot {
	p := plot{c, firstPlot + i*plotPitch, low, high, logarithmic}
	if !logarithmic {
		step := p.step()
		p.high = step * math.Ceil(high/step-1e-9)
	}
	return p
}

func (p plot) step() float64 { return train.TickStep((p.high - p.low) / 4) }

// y is the height of a value; what lies outside is drawn at the edge.
func (p plot) y(v float64) float64 {
	part := (v - p.low) / (p.high - p.low)
	if p.logarithmic {
		part = math.Log(max(v, p.low)/p.low) / math.Log(p.high/p.low)
	}
	return float64(p.top+plotHeight) - min(max(part, 0), 1)*plotHeight
}

// ticks are the values with a line across the plot.
func (p plot) ticks() []float64 {
	var all []float64
	if p.logarithmic {
		for v := p.low; v <= p.high*1.001; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	for i, step := 0, p.step(); float64(i)*step <= p.high*(1+1e-9); i++ {
		all = append(all, float64(i)*step)
	}
	return all
}

// grid draws the lines across, with their values.
func (p plot) grid(write func(float64) string) {
	for _, v := range p.ticks() {
		fmt.Fprintf(p, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			pictureLeft, p.y(v), pictureRight, pictureLeft-8, p.y(v)+4, write(v))
	}
	fmt.Fprintf(p, "<path class=\"axis\" d=\"M%d %dv%dH%d\"/>\n", pictureLeft, p.top, plotHeight, pictureRight)
}

// steps draws values that hold for a part of the time each, and fills what is below.
func (p plot) steps(class, fill string, width time.Duration, values []float64) {
	var d strings.Builder
	for i, v := range values {
		fmt.Fprintf(&d, "V%.1fH%.1f", p.y(v), p.x(min(p.length, float64(i+1)*width.Seconds())))
	}
	bottom := p.top + plotHeight
	fmt.Fprintf(p, "<path class=\"area %s\" d=\"M%d %d%sV%dZ\"/>\n", fill, pictureLeft, bottom, d.String(), bottom)
	fmt.Fprintf(p, "<path class=\"line %s\" d=\"M%d %.1f%s\"/>\n", class, pictureLeft, p.y(values[0]), d.String())
}

// line draws values at the middle of their part of the time, with gaps where
// there is none.
func (p plot) line(class string, width time.Duration, values []float64) {
	var d strings.Builder
	command := 'M'
	for i, v := range values {
		if math.IsNaN(v) {
			command = 'M'
			continue
		}
		fmt.Fprintf(&d, "%c%.1f %.1f", command, p.x(min(p.length, (float64(i)+0.5)*width.Seconds())), p.y(v))
		command = 'L'
	}
	if d.Len() > 0 {
		fmt.Fprintf(p, "<path class=\"line %s\" d=\"%s\"/>\n", class, d.String())
	}
}

// level draws a value across the plot.
func (p plot) level(class string, v float64) {
	fmt.Fprintf(p, "<path class=\"line %s\" d=\"M%d %.1fH%d\"/>\n", class, pictureLeft, p.y(v), pictureRight)
}

func (p plot) dot(class string, at time.Duration, v float64) {
	fmt.Fprintf(p, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n", class, p.x(min(p.length, at.Seconds())), p.y(v))
}

// entry of a legend: the class of its line, or none for a dot, and what it is.
type entry struct{ class, text string }

// letterWidth is about the width of a letter.
const letterWidth = 6.6

// legend writes the plot's name and what is drawn in it, above it.
func (p plot) legend(name string, entries ...entry) {
	fmt.Fprintf(p, "<text class=\"name\" x=\"%d\" y=\"%d\">%s</text>\n", pictureLeft, p.top-10, name)
	x := pictureLeft + 80.0
	for _, e := range entries {
		sign := fmt.Sprintf("<path class=\"line %s\" d=\"M%.0f %dh22\"/>", e.class, x, p.top-14)
		if e.class == "" {
			sign = fmt.Sprintf("<circle cx=\"%.0f\" cy=\"%d\" r=\"3\"/>", x+15, p.top-14)
		}
		fmt.Fprintf(p, "%s<text x=\"%.0f\" y=\"%d\">%s</text>\n", sign, x+28, p.top-10, html.EscapeString(e.text))
		x += 28 + letterWidth*float64(len(e.text)) + 24
	}
}

// duration writes seconds.
func duration(seconds float64) string {
	if seconds < 1 {
		return number(1e3*seconds) + " ms"
	}
	return number(seconds) + " s"
}

// number is a value with four digits or more, and commas between thousands.
func number(v float64) string {
	if math.Abs(v) < 1000 {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	whole := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return whole
}
