package train

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// falling is a curve of n steps.
func falling(n int) *Curve {
	c := &Curve{}
	for i := range n {
		c.Loss = append(c.Loss, Point{i, 1 + math.Exp(-float64(i)/20)})
		if i%10 == 0 {
			c.Eval = append(c.Eval, Point{i, 1.2 + math.Exp(-float64(i)/20)})
		}
	}
	return c
}

func TestCurvesAreReadFromLines(t *testing.T) {
	var c Curve
	for _, line := range []string{
		`{"step":0,"eval_loss":3}`, `{"step":0,"loss":2.5,"lr":1}`, `{"step":1,"loss":null,"skipped":true}`, `{"step":2,"loss":2}`,
		`nonsense`, `{"step":-1,"loss":2}`, `{"step":3,"loss":1e300}`, `{"step":4}`,
	} {
		c.addLine([]byte(line))
	}
	assert.Equal(t, Curve{Loss: []Point{{0, 2.5}, {2, 2}}, Eval: []Point{{0, 3}}}, c)
}

// elements counts the elements of a well-formed document, by name and class.
func elements(t *testing.T, svg []byte) map[string]int {
	t.Helper()
	out := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok {
			name := e.Name.Local
			for _, a := range e.Attr {
				if a.Name.Local == "class" {
					name += "." + a.Value
				}
			}
			out[name]++
		}
	}
}

func TestSVG(t *testing.T) {
	for _, n := range []int{1, 2, 100, 20000} {
		var out bytes.Buffer
		require.NoError(t, falling(n).SVG(&out))
		got := elements(t, out.Bytes())
		assert.Equal(t, min(1500, (n+9)/10), got["circle"])
		assert.Equal(t, []int{2, 2, 1}, []int{got["path.loss"], got["path.mean"], got["path.axis"]}, "with their legends")
		assert.GreaterOrEqual(t, got["line.grid"], 3)
		assert.NotContains(t, out.String(), "NaN")
		assert.NotContains(t, out.String(), "Inf")
		assert.Less(t, out.Len(), 200_000)
	}
	var empty bytes.Buffer
	require.NoError(t, (&Curve{}).SVG(&empty))
	assert.Zero(t, elements(t, empty.Bytes())["path.loss"])
}

func TestSVGStaysInItsBox(t *testing.T) {
	d := drawing{extent: extent{steps: 99, low: 1, high: 3}}
	assert.Equal(t, []float64{svgLeft, svgRight, svgLow, svgTop}, []float64{d.x(0), d.x(99), d.y(1), d.y(3)})
}

func TestText(t *testing.T) {
	c := &Curve{Loss: []Point{{0, 8}, {1, 6}, {2, 4}, {3, 2}, {4, 0}}}
	assert.Equal(t, strings.Join([]string{
		"      8 ┤███            ",
		"        │██████▁▁▁      ",
		"        │█████████▁▁▁   ",
		"      0 ┤████████████▁▁▁",
		"         step 0        4", "",
	}, "\n"), c.Text(24, 4))
	for _, width := range []int{24, 40, 133} {
		for n := range 30 {
			out := falling(1+n*n).Text(width, 6)
			rows := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			require.Len(t, rows, 7)
			for _, row := range rows {
				assert.Equal(t, width, utf8.RuneCountInString(row), fmt.Sprintf("%q", row))
			}
		}
	}
	assert.Empty(t, (&Curve{}).Text(80, 5))
	assert.Empty(t, c.Text(23, 5))
	assert.Empty(t, c.Text(24, 1))
}

func TestTicksAreRoundAndCover(t *testing.T) {
	assert.Equal(t, []float64{0, 50, 100}, ticks(0, 100, 2))
	assert.Equal(t, []float64{0, 100, 200, 300}, ticks(0, 299, 3))
	for _, c := range [][2]float64{{1.93, 4.22}, {-3, 5e-3}, {1e-12, 3e-12}, {-1e29, 1e29}, {7, 7.001}} {
		all := ticks(c[0], c[1], 6)
		assert.LessOrEqual(t, all[0], c[0])
		assert.GreaterOrEqual(t, all[len(all)-1], c[1])
		assert.LessOrEqual(t, len(all), 8)
	}
}

func TestAFlatCurveIsDrawn(t *testing.T) {
	for _, loss := range []float64{0, 2, -1e20} {
		c := &Curve{Loss: []Point{{0, loss}, {1, loss}}}
		var out bytes.Buffer
		require.NoError(t, c.SVG(&out))
		assert.NotContains(t, out.String(), "NaN")
		assert.NotEmpty(t, c.Text(40, 3))
	}
}

func TestTheRunningMeanOfAConstantIsThatConstant(t *testing.T) {
	points := make([]Point, 200)
	for i := range points {
		points[i] = Point{i, 3}
	}
	for _, p := range smoothed(points) {
		assert.InDelta(t, 3, p.Loss, 1e-12)
	}
	assert.Equal(t, []Point{{1, 3}}, thinned(points[:3], 1))
}
