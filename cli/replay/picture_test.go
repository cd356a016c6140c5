package replay

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// draw checks that a picture is well-formed XML without numbers that are none.
func draw(t *testing.T, p Picture) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, p.SVG(&out))
	decoder := xml.NewDecoder(strings.NewReader(out.String()))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	assert.NotContains(t, out.String(), "NaN")
	assert.NotContains(t, out.String(), "Inf")
	return out.String()
}

func TestThePictureShowsTheRun(t *testing.T) {
	svg := draw(t, Picture{Title: "a < b", Run: fiveRequests(), Targets: targets, TrainAlone: 400})
	for _, part := range []string{
		">a &lt; b</text>", ">load</text>", ">latency</text>", ">training</text>", ">time, s</text>",
		">10 ms</text>", ">100 ms</text>", ">1 s</text>", ">10 s</text>", // decades of latency, with the shortest step and the longest wait
		`<circle class="" cx="70.0" cy="338.0" r="2.5"/>`,      // 100 ms, a third of the way up from 10 ms at 382
		`<circle class="lost" cx="301.0" cy="250.0" r="2.5"/>`, // at 3 of 10 s
		`<path class="line a target" d="M70 280.8H840"/>`,      // 2 s
		`<path class="line c target" d="M70 428.0H840"/>`,      // 400 tokens/s, the top
		`>400</text>`,
	} {
		assert.Contains(t, svg, part)
	}
	assert.Equal(t, 4, strings.Count(svg, `<circle class="" `), "requests that got a first token")
}

func TestPicturesOfNothing(t *testing.T) {
	draw(t, Picture{})
	draw(t, Picture{Run: Run{Outcomes: []Outcome{{}, {Dropped: true}}, Length: 1}, Targets: targets})
	assert.NotContains(t, draw(t, Picture{Run: fiveRequests(), Targets: targets}), "without requests")
}

func TestSeries(t *testing.T) {
	s := newSeries(fiveRequests())
	assert.Equal(t, 500*ms, s.width)
	require.Len(t, s.trained, 20)
	assert.InDelta(t, 2, s.arrivals[0], 1e-9, "one in half a second")
	assert.InDelta(t, 4, s.arrivals[6], 1e-9)
	assert.Equal(t, []float64{0, 0, 1, 1, 2}, s.running[:5], "at the end of each part")
	assert.InDelta(t, 0.05, s.gaps[0], 1e-9)
	assert.InDelta(t, 0.4, s.gaps[5], 1e-9)
	assert.True(t, math.IsNaN(s.gaps[15]))
	assert.InDelta(t, 400, s.trained[1], 1e-6, "in the first second")
	assert.InDelta(t, 200, s.trained[2], 1e-6, "in the three behind it")
	assert.InDelta(t, 0, s.trained[19], 1e-6, "nothing was complete behind the last")
	sum := 0.0
	for _, v := range s.trained {
		sum += v * s.width.Seconds()
	}
	assert.InDelta(t, 2000, sum, 1e-6, "none is lost")
	assert.LessOrEqual(t, len(newSeries(Run{Length: time.Hour}).trained), mostBuckets)
}
